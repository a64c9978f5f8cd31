/* child.c - from a launch request to an exec'd process.
 *
 * The keeper is small and has one thread, so a plain fork is cheap and its child may do
 * anything. A pipe that closes itself on exec tells the two ends of a launch apart: a
 * record of the step that failed, or nothing at all.
 */
#include "keeper/child.h"

#include "base/fd.h"
#include "security/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static_assert((int)PP_BIRTH_FDS == (int)PP_SPEC_FDS, "host, keeper and sandbox count alike");

/* What a failed child writes, in one write below PIPE_BUF. */
struct failure {
    int32_t error;
    char step[PP_SPEC_STEP];
};

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
    struct failure failure = {.error = 0};
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
    (void)!write(birth->report, &failure, sizeof(failure));
    _exit(127);
}

/* Answers the pidfd, or a negative errno with the step's name. */
static int fork_child(const struct pp_nursery *nursery, const struct plan *plan, const int *fds,
                      int report, pid_t *pidp, const char **stepp)
{
    struct pp_birth birth = {
        .policy = plan->policy,
        .box = plan->box,
        .parent = getpid(),
        .open_files = nursery->open_files,
        .cwd = plan->spec.cwd,
        .report = report,
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
                  const int *fds, const struct plan *plan, const char **stepp)
{
    int ends[2];
    PP_AUTO_FD ours = -1;
    PP_AUTO_FD theirs = -1;
    pid_t pid = 0;
    int pidfd;

    *stepp = "pipe";
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    ours = ends[0];
    theirs = ends[1];
    pidfd = fork_child(nursery, plan, fds, theirs, &pid, stepp);
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
                     const int *fds, int spec)
{
    const char *step = "spec";
    struct plan plan;
    int r = open_plan(spec, &plan);

    if (r == 0) {
        r = launch(nursery, wards, ward, fds, &plan, &step);
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
    struct failure failure;
    ssize_t n = read(ward->pipe, &failure, sizeof(failure));

    if (n < 0 && errno == EAGAIN)
        return; /* not yet */
    if (n == (ssize_t)sizeof(failure)) {
        failure.step[sizeof(failure.step) - 1] = '\0';
        pp_ward_fail(ward, failure.step, failure.error);
    }
    pp_ward_launched(wards, ward);
}
