/* child.c - from a launch request to an exec'd process.
 *
 * The keeper is small and has one thread, so a plain fork is cheap and its child may do
 * anything. A socket that closes itself on exec tells the two ends of a launch apart: a
 * record of the step that failed, or none. By it also comes what the host listens with.
 */
#include "keeper/child.h"

#include "base/fd.h"
#include "base/handoff.h"
#include "security/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static_assert((int)PP_BIRTH_FDS == (int)PP_SPEC_FDS, "host, keeper and sandbox count alike");
static_assert(sizeof(((struct pp_birth_word *)0)->step) == PP_SPEC_STEP, "a step fits");

/* A spec while it is mapped. */
struct plan {
    struct pp_spec spec;
    struct pp_policy policy;
    struct pp_box box;
    void *bytes;
    size_t size;
};

static void close_plan(struct plan *plan)
{
    pp_spec_deinit(&plan->spec);
    if (plan->bytes != NULL)
        (void)munmap(plan->bytes, plan->size);
}

/* The struct, then the bytes of the box. */
static int open_policy(struct plan *plan)
{
    const uint8_t *bytes = plan->spec.policy;
    size_t size = sizeof(plan->policy);

    if (plan->spec.policy_size < size)
        return -EPROTO;
    memcpy(&plan->policy, bytes, size);
    return pp_box_read(bytes + size, plan->spec.policy_size - size, &plan->box);
}

static int open_plan(int fd, struct plan *plan)
{
    struct stat st;
    void *bytes;
    int r;

    *plan = (struct plan){.bytes = NULL};
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size <= 0 || st.st_size > PP_SPEC_MAX)
        return -EPROTO;
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    plan->bytes = bytes;
    plan->size = (size_t)st.st_size;
    r = pp_spec_read(bytes, plan->size, &plan->spec);
    if (r == 0)
        r = open_policy(plan);
    if (r < 0) {
        close_plan(plan);
        return r;
    }
    return 0;
}

/* In the child. */
static _Noreturn void become(struct pp_birth *birth, const struct pp_spec *spec)
{
    const char *step = "exec";
    struct pp_birth_word failure = {.error = 0};
    int r;

    assert(spec->argv != NULL); /* as pp_spec_read leaves it */
    r = pp_sandbox_before_exec(birth, &step);

    if (r == 0) {
        (void)execve(spec->argv[0], (char *const *)(uintptr_t)spec->argv,
                     (char *const *)(uintptr_t)spec->envp);
        r = -errno;
    }
    failure.error = -r;
    (void)snprintf(failure.step, sizeof(failure.step), "%s", step);
    (void)pp_handoff_send(birth->report, &failure, sizeof(failure), NULL, 0, 0);
    _exit(127);
}

/* Answers the pidfd, or a negative errno with the step's name. */
static int fork_child(const struct pp_nursery *nursery, const struct plan *plan, const int *fds,
                      size_t n_fds, int report, pid_t *pidp, const char **stepp)
{
    struct pp_birth birth = {
        .policy = plan->policy,
        .box = plan->box,
        .parent = getpid(),
        .open_files = nursery->open_files,
        .cwd = plan->spec.cwd,
        .report = report,
        .group = n_fds > PP_SPEC_FDS + 1 ? fds[PP_SPEC_FDS + 1] : -1,
    };
    pid_t pid;
    int pidfd;

    memcpy(birth.fds, fds, sizeof(birth.fds));
    *stepp = "fork";
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        become(&birth, &plan->spec);
    *pidp = pid;
    *stepp = "pidfd";
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0U); /* not reaped, so the number is its own */
    return pidfd < 0 ? -errno : pidfd;
}

static int launch(const struct pp_nursery *nursery, struct pp_wards *wards, struct pp_ward *ward,
                  const int *fds, size_t n_fds, const struct plan *plan, const char **stepp)
{
    int ends[2];
    PP_AUTO_FD ours = -1;
    PP_AUTO_FD theirs = -1;
    pid_t pid = 0;
    int pidfd;

    *stepp = "socketpair";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    ours = ends[0];
    theirs = ends[1];
    pidfd = fork_child(nursery, plan, fds, n_fds, theirs, &pid, stepp);
    if (pidfd < 0 && pid == 0)
        return pidfd;
    if (pidfd < 0) { /* a process that nobody could watch */
        (void)kill(pid, SIGKILL);
        pp_ward_fail(ward, *stepp, -pidfd);
    }
    pp_ward_born(wards, ward, pid, pidfd, pp_take_fd(&ours));
    return 0;
}

void pp_child_launch(const struct pp_nursery *nursery, struct pp_wards *wards, struct pp_ward *ward,
                     const int *fds, size_t n_fds)
{
    const char *step = "spec";
    struct plan plan;
    int r = open_plan(fds[PP_SPEC_FDS], &plan);

    if (r == 0) {
        r = launch(nursery, wards, ward, fds, n_fds, &plan, &step);
        close_plan(&plan);
    }
    if (r < 0) {
        pp_ward_fail(ward, step, -r);
        pp_ward_over(wards, ward);
    }
}

/* The number is a template's word. Only a child of ours answers to waitid, and one that has
 * not been reaped keeps its number, so from here on the pidfd and the number agree. */
int pp_child_adopt(struct pp_wards *wards, struct pp_ward *ward, pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    int pidfd;

    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
        return -errno;
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (pidfd < 0)
        return -errno;
    pp_ward_born(wards, ward, pid, pidfd, -1);
    pp_ward_launched(wards, ward);
    return 0;
}

void pp_child_finish(struct pp_wards *wards, struct pp_ward *ward)
{
    struct pp_birth_word word;
    ssize_t n;

    do {
        int fd = -1;
        size_t n_fds = 0;

        n = pp_handoff_receive(ward->pipe, &word, sizeof(word), &fd, 1, &n_fds, MSG_DONTWAIT);
        if (n == -EAGAIN || n == -EINTR)
            return; /* not yet */
        if (n == (ssize_t)sizeof(word) && word.error != 0) {
            word.step[sizeof(word.step) - 1] = '\0';
            pp_ward_fail(ward, word.step, word.error);
        } else if (n == (ssize_t)sizeof(word) && n_fds == 1 && ward->listener < 0) {
            ward->listener = fd;
            continue;
        } else if (n != 0) { /* its listener was lost: nobody would hear it */
            (void)kill(ward->pid, SIGKILL);
            pp_ward_fail(ward, "listener", n < 0 ? (int)-n : EPROTO);
        }
        (void)pp_close(fd);
    } while (n > 0);
    pp_ward_launched(wards, ward);
}
