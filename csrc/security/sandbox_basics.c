/* sandbox_basics.c - what every process of a pool gets, whatever its profile.
 *
 * A session, signals and descriptors of its own, a parent whose death it does not
 * survive, and no way to gain privileges. Runs between fork and exec.
 */
#include "security/sandbox.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
    REPORT_FD = PP_BIRTH_FDS + 1, /* where the report waits for the exec that closes it */
    OUT_OF_THE_WAY = 16,          /* above every number that is given out */
};

int pp_sandbox_check_parent(struct pp_birth *birth)
{
    /* Not against 1: a subreaper may have taken us in. */
    return getppid() == birth->parent ? 0 : -ESRCH;
}

/* By oneself and by this file it is cheap: to move somebody else waits for all processors. */
int pp_sandbox_enter_cgroup(struct pp_birth *birth)
{
    if (birth->group < 0)
        return 0;
    return write(birth->group, "0", 1) == 1 ? 0 : -errno;
}

int pp_sandbox_leave_session(struct pp_birth *birth)
{
    (void)birth;
    (void)umask(077);
    return setsid() < 0 ? -errno : 0;
}

int pp_sandbox_reset_signals(struct pp_birth *birth)
{
    /* The kernel's struct sigaction, all zero on every architecture: SIG_DFL, no flags. */
    static const uint64_t fresh[8];
    sigset_t none;

    (void)birth;
    /* Exec keeps what is ignored. libc's own two numbers are among it when somebody started
     * us by posix_spawn, and sigaction(3) would refuse them, so the kernel is asked; it
     * refuses KILL and STOP. */
    for (int number = 1; number < NSIG; number++)
        (void)syscall(SYS_rt_sigaction, number, fresh, NULL, sizeof(uint64_t));
    (void)sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

/* The old number is left to close_rest. */
static int move_up(int *fdp)
{
    int fd = fcntl(*fdp, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);

    if (fd < 0)
        return -errno;
    *fdp = fd;
    return 0;
}

/* First up, then down: any of them may have a number that another one is to get. */
int pp_sandbox_place_fds(struct pp_birth *birth)
{
    PP_AUTO_FD null = -1;
    int r = move_up(&birth->report);

    for (int i = 0; r == 0 && i < PP_BIRTH_FDS; i++)
        r = move_up(&birth->fds[i]);
    if (r < 0)
        return r;
    /* A description of its own: flags set on it are nobody else's. */
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0)
        return -errno;
    r = move_up(&null);
    if (r < 0)
        return r;
    if (dup2(null, STDIN_FILENO) < 0)
        return -errno;
    for (int i = 0; i < PP_BIRTH_FDS; i++)
        if (dup2(birth->fds[i], i + 1) < 0)
            return -errno;
    if (dup3(birth->report, REPORT_FD, O_CLOEXEC) < 0)
        return -errno;
    birth->report = REPORT_FD;
    return 0;
}

int pp_sandbox_die_with_parent(struct pp_birth *birth)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    return pp_sandbox_check_parent(birth); /* it may have died just before */
}

int pp_sandbox_no_new_privs(struct pp_birth *birth)
{
    (void)birth;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int pp_sandbox_change_dir(struct pp_birth *birth)
{
    if (birth->cwd[0] == '\0')
        return 0;
    return chdir(birth->cwd) < 0 ? -errno : 0;
}

int pp_sandbox_close_rest(struct pp_birth *birth)
{
    return syscall(SYS_close_range, (unsigned)birth->report + 1, ~0U, 0U) < 0 ? -errno : 0;
}
