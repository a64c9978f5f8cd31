/* sandbox_processes.c - a filter of a dozen instructions, see seccomp(2) and bpf's classic form.
 *
 * clone3(2) has its flags in memory, where a filter cannot look: it is answered with ENOSYS, and C
 * libraries then use clone(2), whose flags are its first argument.
 */
#include "security/processes.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef OWN_ARCH

#define FIELD(name) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, name))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))
/* The next instruction is for whoever compares equal; the others step over it. */
#define IF(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1)
#define REFUSE(number) (SECCOMP_RET_ERRNO | (number))
/* x86-64 has a second set of numbers for programs with short pointers: fork is in it too. */
#define SHORT_POINTERS 0x40000000U

static struct sock_filter program[] = {
    FIELD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
    ANSWER(REFUSE(EPERM)), /* another set of system calls, such as 32-bit ones */
    FIELD(nr),
#ifdef __x86_64__
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SHORT_POINTERS, 0, 1),
    ANSWER(REFUSE(EPERM)),
#endif
#ifdef SYS_fork
    IF(SYS_fork),
    ANSWER(REFUSE(EPERM)),
#endif
#ifdef SYS_vfork
    IF(SYS_vfork),
    ANSWER(REFUSE(EPERM)),
#endif
    IF(SYS_clone3),
    ANSWER(REFUSE(ENOSYS)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
    ANSWER(SECCOMP_RET_ALLOW),
    /* The lower half of the flags: these machines are little-endian. */
    FIELD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
    ANSWER(SECCOMP_RET_ALLOW),
    ANSWER(REFUSE(EPERM)),
};

int pp_processes_refuse(void)
{
    const struct sock_fprog filter = {
        .len = sizeof program / sizeof *program,
        .filter = program,
    };
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);

    if (r < 0)
        return -errno;
    return r == 0 ? 0 : -EBUSY; /* a thread that has a filter of its own, which nobody may undo */
}

#else

int pp_processes_refuse(void)
{
    return -ENOSYS;
}

#endif
