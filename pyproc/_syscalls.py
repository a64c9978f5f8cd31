"""System calls by profile: sets with a version, compiled to filters by libseccomp.

A filter of stage one denies what is named here and allows the rest; a call newer than libseccomp
knows does not exist. A filter of stage two allows what is named here and refuses the rest.
"""

from __future__ import annotations

import errno

#: Name, action, and conditions (index, operator, value, mask) that must all hold.
Condition = tuple[int, int, int, int]
Rule = tuple[str, int, tuple[Condition, ...]]

VERSION = 1


def words(text: str) -> tuple[str, ...]:
    """The words of a list."""
    return tuple(text.split())


ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
#: The host hears of it and ends the worker. Weaker than an errno of another filter.
NOTIFY = 0x7FC00000
LOG = 0x7FFC0000
EQ, NE, GT, GE, LT, LE, MASKED = range(1, 8)
WORD = 0xFFFFFFFF
#: The newest call that the lists below have been read against; the numbers above it are the
#: same on all architectures.
NEWEST = 450
#: Stands for the process's own number, see csrc/security/box.h.
OWN_PID = 0x50595043


def refuse(number: int) -> int:
    """The action that answers with an errno."""
    return 0x00050000 | number


EPERM = refuse(errno.EPERM)
EACCES = refuse(errno.EACCES)
ENOSYS = refuse(errno.ENOSYS)
ENOENT = refuse(errno.ENOENT)
ENOTSUP = refuse(errno.ENOTSUP)


def word(index: int, value: int) -> Condition:
    """An argument of which the kernel takes 32 bits, whatever stands above them."""
    return (index, MASKED, value, WORD)


def bits(index: int, mask: int) -> list[Condition]:
    """One condition for each bit of the mask: that bit is set."""
    found = []
    while mask:
        low = mask & -mask
        found.append((index, MASKED, low, low))
        mask ^= low
    return found


#: No profile ever allows them, and no ordinary program makes them: they end the process.
NEVER = words("""
    ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd bpf perf_event_open
    mount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr
    setns init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
    open_by_handle_at ioperm iopl modify_ldt acct quotactl lookup_dcookie vhangup nfsservctl
    process_madvise syslog
""")

#: As if the kernel were older: libraries then do without.
ABSENT = words("""
    io_uring_setup io_uring_enter io_uring_register userfaultfd memfd_secret clone3 openat2
    process_mrelease quotactl_fd cachestat map_shadow_stack
""")

#: Refused in every profile.
DENIED = words("""
    keyctl add_key request_key chroot sethostname setdomainname personality
    name_to_handle_at fanotify_init fanotify_mark mknod mknodat vmsplice tee
    sched_setattr sched_setscheduler sched_setparam
    shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset
    move_pages migrate_pages uselib ustat sysfs _sysctl remap_file_pages
    settimeofday clock_settime clock_adjtime adjtimex sched_setaffinity
    mlockall chown fchown lchown fchownat inotify_add_watch
""")

#: Of sockets with a name; pairs stay.
NETWORK = words("bind listen connect accept accept4")

#: May reach outsiders where nothing else keeps signals in.
SIGNALS = words("""
    kill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
""")

#: Of files, by name, and to be changed.
ATTRIBUTES = words("""
    getxattr lgetxattr listxattr llistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr
    fremovexattr
""")

#: Number of the call's argument that is a file mode.
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "open": 2, "openat": 3, "creat": 1}

_CLONE_NEW = 0x7E020080  # CLONE_NEW*, of clone
#: flags of clone as pthread_create makes a thread.
THREAD_FLAGS = 0x3D0F00
#: Of a fork, as libc and vfork make it: only these; the low byte is a signal.
_PR_SET_DUMPABLE, _PR_SET_SECUREBITS, _PR_CAPBSET_DROP, _PR_SET_PTRACER = 4, 28, 24, 0x59616D61
_PR_SET_MM, _PR_CAP_AMBIENT = 35, 47
# TIOCSTI LINUX SCTTY SETD, ...; and who is told of a socket's input: FIOSETOWN, SIOCSPGRP
_IOCTLS = (0x5412, 0x541C, 0x540E, 0x5423, 0x4B61, 0x560A, 0x8901, 0x8902)
# F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETPIPE_SZ; and F_SETLEASE, which stops a file's other writers
_FCNTLS = (8, 10, 15, 1031, 1024)
_DATAGRAMS = (2, 3)  # SOCK_DGRAM, and SOCK_RAW, which is the same in a pair


def _arguments() -> list[Rule]:
    """Calls that are refused only with some arguments."""
    rules: list[Rule] = [("clone", EPERM, (bit,)) for bit in bits(0, _CLONE_NEW)]
    rules += [("ioctl", EPERM, (word(1, request),)) for request in _IOCTLS]
    rules += [("fcntl", EPERM, (word(1, command),)) for command in _FCNTLS]
    rules += [
        ("prctl", EPERM, (word(0, option),))
        for option in (_PR_SET_SECUREBITS, _PR_CAPBSET_DROP, _PR_SET_PTRACER, _PR_SET_MM)
    ]
    # With this one flag it changes nothing, and tells whether there is one thread.
    rules.append(("unshare", EPERM, ((0, NE, 0x10000, 0),)))
    # Another process's limits. prlimit of oneself names 0.
    rules.append(("prlimit64", EPERM, ((0, MASKED, 0x80000000, 0x80000000),)))
    rules.append(("prlimit64", EPERM, ((0, GT, 0, 0),)))
    # What others get of the processor and the disk: only oneself may be named.
    rules += [("setpriority", EPERM, ((index, NE, 0, 0),)) for index in (0, 1)]
    rules += [("ioprio_set", EPERM, ((index, NE, own, 0),)) for index, own in ((0, 1), (1, 0))]
    # Landlock knows nothing of attributes: as if the file system had none.
    rules += [(name, ENOTSUP, ()) for name in ATTRIBUTES]
    for call, index in MODES.items():  # nobody becomes another by a file made here
        rules += [(call, EPERM, (bit,)) for bit in bits(index, 0o6000)]
    return rules


#: From AF_UNIX to AF_MAX.
_FAMILIES = 46
FAMILY = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}


def deny_rules(
    families: frozenset[str], scoped: bool, extra: tuple[str, ...] = (), never: int = TRAP
) -> list[Rule]:
    """Stage one. families: kinds of sockets that may be made. scoped: signals are kept in by
    something else. extra: more calls to refuse. never: what happens to those that are never
    allowed."""
    rules: list[Rule] = [(name, never, ()) for name in NEVER]
    rules += [(name, ENOSYS, ()) for name in ABSENT]
    rules += [(name, EPERM, ()) for name in (*DENIED, *extra)]
    rules += _arguments()
    if not families:
        rules += [(name, EACCES, ()) for name in ("socket", *NETWORK)]
        rules.append(("socketpair", EACCES, ((0, NE, 1, 0),)))
        # A datagram goes to any name in the file system, also from a pair.
        rules += [("socketpair", EACCES, ((1, MASKED, n, 0xF),)) for n in _DATAGRAMS]
    else:
        numbers = {FAMILY[family] for family in families}
        closed = [n for n in range(_FAMILIES) if n not in numbers]
        rules += [("socket", EACCES, (word(0, n),)) for n in closed]
        rules.append(("socket", EACCES, ((0, GT, _FAMILIES - 1, 0),)))
    if not scoped:
        rules += [(name, EPERM, ()) for name in SIGNALS]
        rules += [("tgkill", EPERM, ((0, NE, OWN_PID, 0),))]
    return rules


#: What CPython and numpy do once everything is imported, measured with strace on 3.10 to 3.13.
_COMPUTE = words("""
    read write readv writev recvfrom recvmsg sendto sendmsg poll ppoll close lseek munmap mremap
    brk rt_sigprocmask rt_sigreturn rt_sigaction sigaltstack clock_gettime clock_getres
    clock_nanosleep nanosleep gettimeofday time getrandom sched_yield sched_getaffinity getpid
    getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups exit exit_group
    restart_syscall rseq set_robust_list getcpu uname sysinfo getrusage times select pselect6
    epoll_wait epoll_pwait epoll_pwait2 epoll_ctl epoll_create epoll_create1 eventfd eventfd2
    getsockname getpeername getsockopt setitimer getitimer alarm pause pread64 pwrite64 preadv
    pwritev fstat getpgrp getpgid getsid setpriority getpriority msync mincore membarrier
    sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min ftruncate
    set_tid_address arch_prctl shutdown mlock munlock
    futex_waitv sched_getattr getrlimit
""")

_STRICT = words("""
    openat open newfstatat stat lstat statx access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir dup dup2 dup3 pipe pipe2
    fallocate fsync fdatasync sync_file_range mkdir mkdirat unlink unlinkat rename renameat
    renameat2 rmdir umask fadvise64 statfs fstatfs timerfd_create timerfd_settime timerfd_gettime
    copy_file_range sendfile getxattr lgetxattr fgetxattr listxattr flistxattr llistxattr signalfd4
    flock get_robust_list link linkat symlink symlinkat truncate
    close_range wait4 waitid
""")

_FUTEX_PI = (6, 7, 8, 11, 12, 13)  # commands; with FUTEX_PRIVATE and _CLOCK_REALTIME masked off
_FUTEX_MASK = 0x7F
_MADVISE = (0, 1, 2, 3, 4, 8, 10, 14, 15, 16, 17, 18, 19, 20, 21)


def _shared_rules(late_native_imports: bool) -> list[Rule]:
    """Calls that are allowed only with some arguments, in strict and compute."""
    rules: list[Rule] = [
        ("futex", ALLOW, ((1, MASKED, command, _FUTEX_MASK),))
        for command in range(14)
        if command not in _FUTEX_PI
    ]
    rules += [("madvise", ALLOW, (word(2, advice),)) for advice in _MADVISE]
    # No memory becomes code. With late_native_imports, files may (dlopen), nothing else.
    rules.append(("mmap", ALLOW, ((2, MASKED, 0, 4),)))
    rules.append(("mprotect", ALLOW, ((2, MASKED, 0, 4),)))
    if late_native_imports:
        rules.append(("mmap", ALLOW, ((2, MASKED, 5, 7), (3, MASKED, 0, 0x20))))
    rules.append(("clone", ALLOW, ((0, EQ, THREAD_FLAGS, 0),)))
    rules += [("tgkill", ALLOW, (word(0, OWN_PID),)), ("kill", ALLOW, (word(0, OWN_PID),))]
    rules += [("fcntl", ALLOW, (word(1, n),)) for n in (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032, 1034)]
    rules += [("fcntl", ALLOW, (word(1, n),)) for n in (36, 37, 38)]  # F_OFD_*
    rules += [("ioctl", ALLOW, (word(1, n),)) for n in (0x5421, 0x541B, 0x5451, 0x5450)]
    rules.append(("ioctl", refuse(errno.ENOTTY), (word(1, 0x5401),)))  # TCGETS: is it a terminal?
    rules.append(("socketpair", ALLOW, (word(0, 1),)))
    rules += [("prctl", ALLOW, (word(0, n),)) for n in (3, 15, 16, 38, 39, 40, 0x53564D41)]
    # One's own limits can be read, and lowered: hard limits are the soft ones.
    rules.append(("prlimit64", ALLOW, ((0, EQ, 0, 0), (2, EQ, 0, 0))))
    return rules


def allow_rules(profile: str, late_native_imports: bool, chmods: bool = True) -> list[Rule]:
    """Stage two of strict or compute; what is not named is EPERM."""
    names: list[str] = [*_COMPUTE]
    missing: list[Rule] = []
    opens = words("""openat open stat lstat newfstatat statx access faccessat faccessat2 readlink
        readlinkat getcwd chdir getdents64 statfs""")
    if profile == "strict":
        names += _STRICT
        if chmods:
            missing += [
                (call, ALLOW, ((index, MASKED, 0, 0o6000),))
                for call, index in MODES.items()
                if call in ("chmod", "fchmod", "fchmodat")
            ]
    else:
        # As if nothing were there: tracebacks and optional imports go on without.
        missing += [(name, ENOENT, ()) for name in opens]
    rules: list[Rule] = [(name, ALLOW, ()) for name in names]
    rules += _shared_rules(late_native_imports)
    rules += missing
    rules += left_to_first()
    rules += [(name, ENOSYS, ()) for name in (*ABSENT, "mbind", "get_mempolicy", "set_mempolicy")]
    rules += [(name, EACCES, ()) for name in ("socket", *NETWORK)]
    # The handler of SIGSYS is ours: what a never-call means is not for the caller to say.
    return [rule for rule in rules if rule[0] != "rt_sigaction"] + _sigaction_rules()


def left_to_first() -> list[Rule]:
    """In stage two: stage one says what happens to calls that are never allowed, and the strictest
    of both counts."""
    return [(name, ALLOW, ()) for name in NEVER]


def _sigaction_rules() -> list[Rule]:
    return [
        ("rt_sigaction", ALLOW, ((0, LT, 31, 0),)),
        *(("rt_sigaction", ALLOW, ((0, EQ, number, 0),)) for number in range(32, 65)),
    ]


def second_deny_rules() -> list[Rule]:
    """Stage two of baseline: the handler of SIGSYS stays."""
    return [("rt_sigaction", EPERM, (word(0, 31),))]


def essential_rules() -> list[Rule]:
    """What a worker needs to answer calls at all: added to every list of the user's own."""
    rules: list[Rule] = [(name, ALLOW, ()) for name in _COMPUTE if name != "rt_sigaction"]
    return [*rules, *_shared_rules(late_native_imports=False), *_sigaction_rules()]
