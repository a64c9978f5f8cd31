/* keeper.c - starts pyproc-keeper and speaks with it.
 *
 * The start is a clone that shares our memory and stops the calling thread until the
 * exec, as vfork(2) does: no page tables are copied, and other threads run on. The
 * child therefore touches nothing of ours but its own stack and one struct, makes
 * plain system calls only (a sanitizer's or libc's wrappers keep books in the memory
 * that we share), and runs no handler, because all signals are blocked until the keeper
 * itself sets its own.
 */
#include "supervisor/keeper.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/handoff.h"
#include "base/memfd.h"
#include "base/spec.h"
#include "ipc/socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static_assert((int)PP_WORKER_FDS == (int)PP_SPEC_FDS + 1, "stdin is the keeper's");

#ifndef P_PIDFD /* glibc 2.36 names it */
#define P_PIDFD 3
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* No instrumentation where two processes share one memory. */
#if defined(__clang__)
#if __has_attribute(disable_sanitizer_instrumentation)
#define IN_CHILD __attribute__((noinline, disable_sanitizer_instrumentation))
#else
#define IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#endif
#else
#define IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#endif

/* libc's own name: sanitizers replace `clone` with one that forks their books. */
#ifdef __GLIBC__
extern int __clone(int (*run)(void *), void *stack, int flags, void *argument, ...);
#define libc_clone __clone
#else
#define libc_clone clone
#endif

struct pp_keeper {
    int control; /* owned; our end of the socket, non-blocking */
    int pidfd;   /* owned */
    pid_t pid;
    int namespaces; /* that it has of its own */
};

enum {
    KEEPER_CONTROL = 3,  /* the descriptors that the keeper is born with */
    KEEPER_HOST = 4,     /* the host's pidfd */
    KEEPER_GROUPS = 5,   /* the directory of the workers' cgroups, or nothing */
    OUT_OF_THE_WAY = 16, /* above these */
    STACK_SIZE = 64 * 1024,
    REPORT_FDS = 2, /* a worker's pidfd, and perhaps what its sandbox's calls are heard by */
};

/* More than any process's number, pid_max in proc(5): it is nobody's. */
#define PID_OF_NOBODY 4194304

/* Shared between the calling thread and the child. */
struct birth {
    const char *path;
    int control;
    int host;
    int groups; /* 0: none */
    int namespaces;
    char groups_name[PP_CGROUP_NAME];
    char uids[48], gids[48]; /* with a user namespace: its maps */
    const char *step;        /* what failed, else NULL */
    int error;
};

IN_CHILD static int birth_failed(struct birth *birth, const char *step)
{
    birth->step = step;
    birth->error = errno; /* the thread's own, which waits for us */
    return 127;
}

IN_CHILD static bool put_text(const char *path, const char *text)
{
    size_t n = 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC), written;

    while (text[n] != '\0')
        n++;
    if (fd < 0)
        return false;
    written = syscall(SYS_write, fd, text, n);
    (void)syscall(SYS_close, fd);
    return written == (long)n;
}

/* The same user as before, with every right in the new namespaces. Exec would take the rights
 * from all but root: ambient ones stay. */
IN_CHILD static bool be_master(const struct birth *birth)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (!put_text("/proc/self/setgroups", "deny") || !put_text("/proc/self/uid_map", birth->uids) ||
        !put_text("/proc/self/gid_map", birth->gids))
        return false;
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    if (syscall(SYS_capset, &header, data) < 0)
        return false;
    for (unsigned cap = 0; cap < 64; cap++)
        if ((data[cap / 32].permitted & (1U << cap % 32)) != 0 &&
            syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return false;
    return true;
}

/* Runs in the child on a stack of its own. Answers only on failure. */
IN_CHILD static int be_born(void *argument)
{
    struct birth *birth = argument;
    char name[] = "pyproc-keeper";
    char *argv[] = {name, birth->groups > 0 ? birth->groups_name : NULL, NULL};
    char *envp[] = {NULL};
    long null, control, host, groups = 0;

    if ((birth->namespaces & CLONE_NEWUSER) != 0 && !be_master(birth))
        return birth_failed(birth, "enter a user namespace for");

    /* The host's numbers may be any, also 0 to 4: up first, then down. */
    control = syscall(SYS_fcntl, birth->control, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    host = syscall(SYS_fcntl, birth->host, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    if (birth->groups > 0)
        groups = syscall(SYS_fcntl, birth->groups, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    if (control < 0 || host < 0 || groups < 0)
        return birth_failed(birth, "move the descriptors of");
    null = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return birth_failed(birth, "open /dev/null for");
    null = syscall(SYS_fcntl, null, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    if (null < 0 || syscall(SYS_dup3, null, STDIN_FILENO, 0) < 0 ||
        syscall(SYS_dup3, null, STDOUT_FILENO, 0) < 0 ||
        syscall(SYS_dup3, null, STDERR_FILENO, 0) < 0 ||
        syscall(SYS_dup3, control, KEEPER_CONTROL, 0) < 0 ||
        syscall(SYS_dup3, host, KEEPER_HOST, 0) < 0 ||
        (groups > 0 && syscall(SYS_dup3, groups, KEEPER_GROUPS, 0) < 0))
        return birth_failed(birth, "place the descriptors of");
    if (syscall(SYS_close_range, (groups > 0 ? KEEPER_GROUPS : KEEPER_HOST) + 1, ~0U, 0U) < 0)
        return birth_failed(birth, "close_range (Linux 5.9) for");
    (void)syscall(SYS_setsid); /* a ^C in the host's terminal is the host's alone */
    (void)syscall(SYS_execve, birth->path, argv, envp);
    return birth_failed(birth, "run");
}

/* Signals are blocked to the last one: libc keeps two of its own out of pthread_sigmask. */
static void block_signals(uint64_t *beforep)
{
    uint64_t all = UINT64_MAX;

    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, beforep, sizeof(all));
}

static void restore_signals(const uint64_t *before)
{
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, sizeof(*before));
}

/* Waits for the end of a child. -ECHILD, when the host ignores SIGCHLD or reaped it
 * itself, is as good. */
static void reap(int pidfd)
{
    siginfo_t info;

    while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
        continue;
}

/* Answers once the exec is done or failed. */
static int clone_child(struct birth *birth, pid_t *pidp, int *pidfdp)
{
    uint64_t signals;
    int pidfd = -1;
    int pid, error;
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED)
        return pp_fail(-errno, "make a stack for the start of the keeper");
    block_signals(&signals);
    pid = libc_clone(be_born, (char *)stack + STACK_SIZE,
                     CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | birth->namespaces, birth,
                     &pidfd);
    error = errno;
    restore_signals(&signals);
    (void)munmap(stack, STACK_SIZE);
    if (pid < 0)
        return pp_fail(-error, "clone a process for the keeper");
    if (pidfd < 0) { /* before 5.2 the flag was ignored */
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, __WALL);
        return pp_fail(-ENOSYS, "the kernel gives no pidfds (Linux 5.4 is needed)");
    }
    *pidp = pid;
    *pidfdp = pidfd;
    return 0;
}

static int open_host_pidfd(int *fdp)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0U);

    if (fd < 0)
        return pp_fail(-errno, "pidfd_open, which the keeper needs (Linux 5.4, and a container "
                               "whose seccomp profile allows it)");
    fd = pp_fd_above_stdio(fd);
    if (fd < 0)
        return pp_fail(fd, "move a pidfd above the standard streams");
    *fdp = fd;
    return 0;
}

static int start(struct birth birth, struct pp_keeper *keeper)
{
    PP_AUTO_FD ours = -1;
    PP_AUTO_FD theirs = -1;
    PP_AUTO_FD host = -1;
    PP_AUTO_FD pidfd = -1;
    int flags, r;

    r = pp_socket_pair(SOCK_SEQPACKET, &ours, &theirs);
    if (r < 0)
        return r;
    flags = fcntl(ours, F_GETFL);
    if (flags < 0 || fcntl(ours, F_SETFL, flags | O_NONBLOCK) < 0)
        return pp_fail(-errno, "make the keeper's socket non-blocking");
    r = open_host_pidfd(&host);
    if (r < 0)
        return r;
    birth.control = theirs;
    birth.host = host;
    (void)snprintf(birth.uids, sizeof birth.uids, "%u %u 1", geteuid(), geteuid());
    (void)snprintf(birth.gids, sizeof birth.gids, "%u %u 1", getegid(), getegid());
    r = clone_child(&birth, &keeper->pid, &pidfd);
    if (r < 0)
        return r;
    if (birth.step != NULL) {
        reap(pidfd);
        return pp_fail(-birth.error, "%s the keeper '%s'", birth.step, birth.path);
    }
    r = pp_fd_above_stdio(pp_take_fd(&pidfd));
    if (r < 0) { /* it leaves when it finds its socket closed */
        (void)kill(keeper->pid, SIGKILL);
        (void)waitpid(keeper->pid, NULL, __WALL);
        return pp_fail(r, "move a pidfd above the standard streams");
    }
    keeper->pidfd = r;
    keeper->control = pp_take_fd(&ours);
    return 0;
}

int pp_keeper_start(const char *path, int namespaces, int groups, const char *groups_name,
                    struct pp_keeper **keeperp)
{
    struct birth birth = {.path = path, .namespaces = namespaces, .groups = groups};
    struct pp_keeper *keeper = malloc(sizeof(*keeper));
    int r;

    if (keeper == NULL)
        return pp_fail(-ENOMEM, "start the keeper");
    *keeper = (struct pp_keeper){.control = -1, .pidfd = -1, .namespaces = namespaces};
    if (groups > 0)
        (void)snprintf(birth.groups_name, sizeof birth.groups_name, "%s", groups_name);
    r = start(birth, keeper);
    if (r < 0) {
        free(keeper);
        return r;
    }
    *keeperp = keeper;
    return 0;
}

/* A worker may have stopped the keeper, as one of the same user. This changes nothing
 * for a keeper that runs. */
static void wake(const struct pp_keeper *keeper)
{
    (void)syscall(SYS_pidfd_send_signal, keeper->pidfd, SIGCONT, NULL, 0U);
}

static bool has_ended(const struct pp_keeper *keeper, int timeout_ms)
{
    struct pollfd ended = {.fd = keeper->pidfd, .events = POLLIN};
    int64_t until = pp_after(pp_now(), timeout_ms * PP_MS);

    for (;;) {
        int64_t left = until - pp_now();
        int r = poll(&ended, 1, left <= 0 ? 0 : (int)((left + PP_MS - 1) / PP_MS));

        if (r > 0)
            return true;
        if (r == 0 || errno != EINTR)
            return false;
    }
}

struct pp_keeper *pp_keeper_free(struct pp_keeper *keeper, int grace_ms)
{
    if (keeper == NULL)
        return NULL;
    /* A forked copy of the host may hold the socket too: say it on the socket itself. */
    (void)shutdown(keeper->control, SHUT_RDWR);
    wake(keeper);
    if (!has_ended(keeper, grace_ms < 0 ? 0 : grace_ms))
        (void)syscall(SYS_pidfd_send_signal, keeper->pidfd, SIGKILL, NULL, 0U);
    reap(keeper->pidfd);
    pp_keeper_abandon(keeper);
    return NULL;
}

void pp_keeper_abandon(struct pp_keeper *keeper)
{
    if (keeper == NULL)
        return;
    (void)pp_close(keeper->control);
    (void)pp_close(keeper->pidfd);
    free(keeper);
}

pid_t pp_keeper_pid(const struct pp_keeper *keeper)
{
    return keeper->pid;
}

int pp_keeper_fd(const struct pp_keeper *keeper)
{
    return keeper->control;
}

/* Sends a request as the header promises. */
static int ask(const struct pp_keeper *keeper, const struct pp_request *request, const int *fds,
               size_t n_fds)
{
    int r;

    do
        r = pp_handoff_send(keeper->control, request, sizeof(*request), fds, n_fds, MSG_DONTWAIT);
    while (r == -EINTR);
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
        return PP_KEEPER_GONE;
    if (r == -EWOULDBLOCK || r == -ETOOMANYREFS) /* too many descriptors in flight, unix(7) */
        r = -EAGAIN;
    wake(keeper);
    return r < 0 && r != -EAGAIN ? pp_fail(r, "send the keeper a request") : r;
}

/* Puts the spec into memory that nobody changes any more. */
static int make_spec(const struct pp_spec *spec, int *fdp)
{
    PP_AUTO_FD fd = -1;
    size_t size = pp_spec_size(spec);
    void *bytes;
    int r;

    if (size == 0)
        return pp_fail(-E2BIG, "the worker's arguments and environment are too large");
    r = pp_memfd_new("pyproc-launch", size, &fd);
    if (r < 0)
        return r;
    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return pp_fail(-errno, "map the worker's launch");
    pp_spec_write(spec, bytes);
    (void)munmap(bytes, size);
    r = pp_memfd_seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    if (r < 0)
        return r;
    *fdp = pp_take_fd(&fd);
    return 0;
}

/* The struct, then the box: as the keeper reads them. */
static uint8_t *join_policy(const struct pp_launch *launch)
{
    uint8_t *bytes = malloc(sizeof(launch->policy) + launch->box_size);

    if (bytes == NULL)
        return NULL;
    memcpy(bytes, &launch->policy, sizeof(launch->policy));
    if (launch->box_size != 0)
        memcpy(bytes + sizeof(launch->policy), launch->box, launch->box_size);
    return bytes;
}

int pp_keeper_launch(struct pp_keeper *keeper, const struct pp_launch *launch)
{
    struct pp_spec spec = {
        .argv = launch->argv,
        .envp = launch->envp,
        .cwd = launch->cwd,
        .policy_size = sizeof(launch->policy) + launch->box_size,
    };
    struct pp_request request = {
        .magic = PP_SPEC_MAGIC, .kind = PP_REQUEST_LAUNCH, .worker = launch->worker};
    int fds[PP_SPEC_FDS + 2];
    PP_AUTO_FD memory = -1;
    uint8_t *policy;
    int r;

    if (launch->argv[0] == NULL)
        return pp_fail(-EINVAL, "a worker needs the path of its executable");
    policy = join_policy(launch);
    if (policy == NULL)
        return pp_fail(-ENOMEM, "describe a worker to the keeper");
    spec.policy = policy;
    r = make_spec(&spec, &memory);
    free(policy);
    if (r < 0)
        return r;
    memcpy(fds, launch->fds + 1, PP_SPEC_FDS * sizeof(int));
    fds[PP_SPEC_FDS] = memory;
    fds[PP_SPEC_FDS + 1] = launch->group;
    return ask(keeper, &request, fds, PP_SPEC_FDS + (launch->group > 0 ? 2 : 1));
}

int pp_keeper_kill(struct pp_keeper *keeper, uint32_t worker)
{
    struct pp_request request = {.magic = PP_SPEC_MAGIC, .kind = PP_REQUEST_KILL, .worker = worker};

    return ask(keeper, &request, NULL, 0);
}

int pp_keeper_adopt(struct pp_keeper *keeper, uint32_t worker, pid_t pid)
{
    struct pp_request request = {
        .magic = PP_SPEC_MAGIC, .kind = PP_REQUEST_ADOPT, .worker = worker, .pid = pid};

    return ask(keeper, &request, NULL, 0);
}

static bool is_sound(const struct pp_report *report, size_t n_fds)
{
    if (report->magic != PP_SPEC_MAGIC || (n_fds > 0) != (report->kind == PP_REPORT_LAUNCHED))
        return false;
    switch (report->kind) {
    case PP_REPORT_LAUNCHED:
    case PP_REPORT_STOPPED:
        return report->pid > 0;
    case PP_REPORT_FAILED:
        return report->error > 0 && memchr(report->step, 0, sizeof(report->step)) != NULL;
    case PP_REPORT_ENDED:
        return report->pid > 0 && (WIFEXITED(report->status) || WIFSIGNALED(report->status)) &&
               report->user_us >= 0 && report->system_us >= 0 && report->max_rss_kib >= 0;
    default:
        return false;
    }
}

/* The keeper counts processes in its own way: the descriptor says what they are for us. */
static pid_t own_number(int pidfd)
{
    char path[32], text[512];
    PP_AUTO_FD fd = -1;
    const char *at;
    ssize_t n;
    long pid;

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return PID_OF_NOBODY;
    text[n] = '\0';
    at = strstr(text, "\nPid:\t");
    pid = at ? strtol(at + strlen("\nPid:\t"), NULL, 10) : 0;
    return pid > 0 && pid < PID_OF_NOBODY ? (pid_t)pid : PID_OF_NOBODY; /* it has ended */
}

static void fill_event(const struct pp_report *report, struct pp_keeper_event *eventp)
{
    static_assert(sizeof(eventp->step) == sizeof(report->step), "a step fits");
    *eventp = (struct pp_keeper_event){
        .worker = report->worker,
        .pid = report->pid,
        .pidfd = -1,
        .listener = -1,
        .error = report->error,
        .status = report->status,
        .user_us = report->user_us,
        .system_us = report->system_us,
        .max_rss_kib = report->max_rss_kib,
    };
    memcpy(eventp->step, report->step, sizeof(eventp->step));
    if (report->kind == PP_REPORT_LAUNCHED)
        eventp->kind = PP_KEEPER_LAUNCHED;
    else if (report->kind == PP_REPORT_STOPPED)
        eventp->kind = PP_KEEPER_STOPPED;
    else
        eventp->kind = report->kind == PP_REPORT_FAILED ? PP_KEEPER_FAILED : PP_KEEPER_ENDED;
}

/* One datagram: its size, 0 when there is none and will be none, or a negative errno. */
static ssize_t receive(const struct pp_keeper *keeper, struct pp_report *report,
                       int fds[REPORT_FDS], size_t *n_fdsp)
{
    ssize_t n;

    do
        n = pp_handoff_receive(keeper->control, report, sizeof(*report), fds, REPORT_FDS, n_fdsp,
                               MSG_DONTWAIT);
    while (n == -EINTR);
    return n == -ECONNRESET || n == -ENOTCONN ? 0 : n;
}

/* Takes the descriptors, -1 for none. */
static int take_report(const struct pp_keeper *keeper, struct pp_report *report, size_t n,
                       const int fds[REPORT_FDS], struct pp_keeper_event *eventp)
{
    size_t n_fds = (fds[0] >= 0) + (size_t)(fds[1] >= 0);
    PP_AUTO_FD pidfd = fds[0] < 0 ? -1 : pp_fd_above_stdio(fds[0]);
    PP_AUTO_FD listener = fds[1] < 0 ? -1 : pp_fd_above_stdio(fds[1]);

    if (n != sizeof(*report) || !is_sound(report, n_fds))
        return pp_fail(-EPROTO, "read the keeper's report");
    if (fds[0] >= 0 && pidfd < 0)
        return pp_fail(pidfd, "move a worker's pidfd above the standard streams");
    if (fds[1] >= 0 && listener < 0)
        return pp_fail(listener, "move a worker's listener above the standard streams");
    if (pidfd >= 0 && (keeper->namespaces & CLONE_NEWPID) != 0)
        report->pid = own_number(pidfd);
    fill_event(report, eventp);
    eventp->pidfd = pp_take_fd(&pidfd);
    eventp->listener = pp_take_fd(&listener);
    return 0;
}

int pp_keeper_read(struct pp_keeper *keeper, struct pp_keeper_event *eventp)
{
    struct pp_report report;
    int fds[REPORT_FDS] = {-1, -1};
    size_t n_fds = 0;
    ssize_t n = receive(keeper, &report, fds, &n_fds);

    if (n == -EAGAIN) {
        /* A dead keeper's last words are read before its death counts. */
        if (!has_ended(keeper, 0))
            return PP_KEEPER_NOTHING;
        n = receive(keeper, &report, fds, &n_fds);
        if (n == -EAGAIN)
            return PP_KEEPER_GONE;
    }
    if (n == 0)
        return PP_KEEPER_GONE;
    if (n == -EMFILE && is_sound(&report, 1)) {
        /* The host has no descriptor left for the pidfd: give this worker up. */
        (void)pp_keeper_kill(keeper, report.worker);
        report.kind = PP_REPORT_FAILED;
        report.error = EMFILE;
        memcpy(report.step, "pidfd", sizeof("pidfd"));
        fill_event(&report, eventp);
        return 0;
    }
    if (n < 0)
        return pp_fail((int)n, "read the keeper's report");
    return take_report(keeper, &report, (size_t)n, fds, eventp);
}
