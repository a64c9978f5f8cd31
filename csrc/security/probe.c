/* probe.c - what the kernel lets us do, tried in a child. Host only.
 *
 * The child shares our memory and stops the calling thread until it is gone, as vfork(2) does;
 * it only makes system calls.
 */
#include "security/compile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum { STACK_SIZE = 64 * 1024 };

/* Of mount_setattr(2). */
struct attr {
    uint64_t set, clear, propagation, user_ns;
};

struct trial {
    int flags;
    int error;
};

static int try_namespaces(void *argument)
{
    struct trial *trial = argument;

    const struct attr locked = {.set = 1}; /* MOUNT_ATTR_RDONLY */

    if ((trial->flags & (CLONE_NEWNS | CLONE_NEWPID)) == 0)
        return 0;
    /* 0x8000: AT_RECURSIVE. Containers that hide parts of /proc let nobody mount another. */
    if (syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        ((trial->flags & CLONE_NEWUSER) != 0 &&
         syscall(SYS_mount_setattr, AT_FDCWD, "/", 0x8000, &locked, sizeof locked) < 0) ||
        ((trial->flags & CLONE_NEWPID) != 0 &&
         syscall(SYS_mount, "pyproc", "/proc", "proc", 0UL, NULL) < 0))
        trial->error = errno;
    return 0;
}

/* In a filter of its own that refuses nothing. */
static int try_tripwire(void *argument)
{
    static struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const struct sock_fprog program = {.len = 1, .filter = all};
    struct seccomp_notif_sizes sizes = {.seccomp_notif = 0};
    struct trial *trial = argument;

    if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0 ||
        syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0U, &sizes) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) <
            0)
        trial->error = errno;
    else if (sizes.seccomp_notif > PP_NOTICE_MAX)
        trial->error = E2BIG;
    return 0;
}

/* 0 or a negative errno. */
static int in_child(int (*run)(void *), struct trial *trial)
{
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int r = 0;
    pid_t pid;

    if (stack == MAP_FAILED)
        return -errno;
    /* No signal at its end: the host's own children are the host's. */
    pid = clone(run, (char *)stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | trial->flags, trial);
    if (pid < 0)
        r = -errno;
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
    (void)munmap(stack, STACK_SIZE);
    return r < 0 ? r : -trial->error;
}

int pp_sandbox_try_namespaces(int flags)
{
    struct trial trial = {
        .flags = flags | ((flags & CLONE_NEWPID) != 0 ? CLONE_NEWNS : 0),
    };

    return in_child(try_namespaces, &trial);
}

int pp_sandbox_try_tripwire(void)
{
    struct trial trial = {.flags = 0};

    return in_child(try_tripwire, &trial);
}
