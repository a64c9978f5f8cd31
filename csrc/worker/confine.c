/* confine.c - the second stage of the sandbox: the application is there, the first call is not.
 *
 * Files first, for as long as there is one thread: Landlock binds the calling thread only. The
 * filter binds all of them, and comes last. Then the worker itself tries what must not work; one
 * that could do it never says that it is ready.
 */
#include "worker/worker.h"

#include "base/error.h"
#include "base/fd.h"
#include "security/processes.h"
#include "security/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

int pp_worker_keep_box(struct pp_worker *worker, const struct pp_bytes *box)
{
    uint8_t *bytes = NULL;

    if (box->size != 0) {
        bytes = malloc(box->size);
        if (!bytes)
            return pp_fail(-ENOMEM, "keep the sandbox's second stage");
        memcpy(bytes, box->data, box->size);
    }
    free(worker->box);
    worker->box = bytes;
    worker->box_size = box->size;
    return 0;
}

/* ---- which call it was ---- */

enum { OF_SECCOMP = 1 }; /* si_code; libc has no name for it */

static struct pp_status_page *_Atomic page;
static struct sigaction before;

/* In the order of the call's arguments. */
static void read_arguments(const ucontext_t *context, uint64_t arguments[6])
{
#if defined(__x86_64__)
    static const int registers[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

    for (size_t i = 0; i < 6; i++)
        arguments[i] = (uint64_t)context->uc_mcontext.gregs[registers[i]];
#elif defined(__aarch64__)
    for (size_t i = 0; i < 6; i++)
        arguments[i] = context->uc_mcontext.regs[i];
#else
    (void)context;
    memset(arguments, 0, 6 * sizeof *arguments);
#endif
}

/* A call that no sandbox ever allows. The note is a claim, like all that a worker writes; the
 * signal that ends it is the kernel's word. */
static void trapped(int number, siginfo_t *info, void *context)
{
    struct pp_status_page *status = atomic_load(&page);
    int call = info->si_code == OF_SECCOMP ? info->si_syscall : -1;

    if (status && call >= 0) {
        read_arguments(context, status->refused_arguments);
        atomic_store(&status->refused, (uint32_t)call + 1);
    }
    /* The fault handler writes the stack. It raises the signal again, which waits: it is
     * blocked here. */
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    /* A trap while its signal is blocked is death, seccomp(2). */
    (void)syscall(SYS_kexec_load, 0UL, 0UL, NULL, 0UL);
    _exit(128 + SIGSYS);
}

static int catch_traps(struct pp_worker *worker)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    atomic_store(&page, worker->status);
    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, &before) < 0 ? -errno : 0;
}

/* ---- the proof ---- */

static bool opens(const char *path)
{
    PP_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd >= 0;
}

static bool makes_socket(void)
{
    PP_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0;
}

static bool raises_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
        return false;
    limit.rlim_max += 1;
    return setrlimit(RLIMIT_CORE, &limit) == 0;
}

static const char *find_hole(const struct pp_box *box)
{
    unsigned probe = box->head.probe;

    if ((probe & PP_PROBE_CANARY) != 0 && box->canary && opens(box->canary))
        return "a file that nobody granted can be opened";
    if ((probe & PP_PROBE_SOCKET) != 0 && makes_socket())
        return "a socket can be made";
    if ((probe & PP_PROBE_KILL) != 0 && kill(getppid(), 0) == 0)
        return "the parent process can be signalled";
    if ((probe & PP_PROBE_RLIMIT) != 0 && raises_limit())
        return "a limit can be raised";
    if ((probe & PP_PROBE_ROOT) != 0 && setresuid(0, 0, 0) == 0)
        return "root can be had again";
    return NULL;
}

/* ---- the steps ---- */

/* Asked of the kernel: unshare(2) refuses this flag, which changes nothing, to a process with
 * threads. Containers that refuse the whole call leave us /proc; without it the answer is no. */
static bool is_alone(void)
{
    char text[4096];
    PP_AUTO_FD fd = -1;
    const char *line;
    ssize_t n;

    if (unshare(CLONE_THREAD) == 0)
        return true;
    if (errno == EINVAL)
        return false;
    fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    line = strstr(text, "\nThreads:\t");
    return line && line[10] == '1' && line[11] == '\n';
}

static int step_failed(int r, const char *step)
{
    return pp_fail(r, "the sandbox cannot be closed: %s", step);
}

static int apply(struct pp_worker *worker, const struct pp_box *box)
{
    int r;

    if (pp_box_has(box, PP_BOX_NO_DUMP) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return step_failed(-errno, "PR_SET_DUMPABLE");
    r = pp_box_has(box, PP_BOX_TRAPS) ? catch_traps(worker) : 0;
    if (r < 0)
        return step_failed(r, "a handler for SIGSYS");
    if (!pp_box_has(box, PP_BOX_SINGLE) || is_alone()) {
        r = pp_sandbox_landlock(box);
        if (r < 0)
            return step_failed(r, "Landlock");
    }
    /* The last filter may forbid any other. */
    r = worker->control->no_processes ? pp_processes_refuse() : 0;
    if (r < 0)
        return step_failed(r, "Limits(processes=0)");
    worker->no_processes = worker->control->no_processes != 0;
    r = pp_sandbox_filter(box, true);
    return r < 0 ? step_failed(r, "seccomp") : 0;
}

bool pp_worker_closes(const struct pp_worker *worker)
{
    struct pp_box box;

    return worker->box_size != 0 && pp_box_read(worker->box, worker->box_size, &box) == 0 &&
           pp_box_has(&box, PP_BOX_CLOSES);
}

int pp_worker_confine(struct pp_worker *worker)
{
    const char *hole;
    struct pp_box box;
    int r;

    if (worker->box_size == 0)
        return 0;
    r = pp_box_read(worker->box, worker->box_size, &box);
    if (r < 0)
        return step_failed(r, "its description is malformed");
    r = apply(worker, &box);
    if (r < 0)
        return r;
    hole = find_hole(&box);
    return hole ? pp_fail(-ENOTRECOVERABLE, "the sandbox does not hold: %s", hole)
                : PP_WORKER_CONFINED;
}
