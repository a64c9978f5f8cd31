"""Attacks on the kernel's rarer doors: what is open here may have a hole behind it."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import ctypes
import errno
import os
import resource

from security.attacks.registry import Bait, attack, child, closing, libc, reaches, syscall

SENSELESS = (errno.EINVAL, errno.EFAULT, errno.EBADF, errno.ENOEXEC, errno.ENOENT, errno.ENOTBLK)
MAYBE = "a container, a setting or the kernel's build may refuse it"


@attack("kernel", root=True, rare=MAYBE)
def loads_a_program_into_the_kernel(bait: Bait) -> object:
    attributes = (ctypes.c_uint32 * 16)(2, 4, 4, 1)  # an array of one number
    os.close(syscall("bpf", 0, attributes, 64))
    return True


@attack("kernel", rare=MAYBE)
def counts_events(bait: Bait) -> object:
    attributes = ctypes.create_string_buffer(128)
    ctypes.memmove(attributes, (1).to_bytes(4, "little") + (128).to_bytes(4, "little"), 8)
    ctypes.memmove(ctypes.addressof(attributes) + 40, (0x60).to_bytes(8, "little"), 8)
    os.close(syscall("perf_event_open", attributes, 0, -1, -1, 0))
    return True


@attack("kernel", rare=MAYBE)
def handles_page_faults_itself(bait: Bait) -> object:
    os.close(syscall("userfaultfd", 1))
    return True


@attack("kernel", rare=MAYBE)
def becomes_root_of_a_user_namespace(bait: Bait) -> object:
    return child(lambda: syscall("unshare", 0x10000000)) is None


@attack("kernel", rare=MAYBE)
def clones_into_a_user_namespace(bait: Bait) -> object:
    pid = syscall("clone", 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0 or 1 / 0


@attack("kernel", root=True, rare=MAYBE)
def takes_a_mount_namespace(bait: Bait) -> object:
    return child(lambda: syscall("unshare", 0x20000)) is None


@attack("kernel", root=True, rare=MAYBE)
def takes_a_network_namespace(bait: Bait) -> object:
    return child(lambda: syscall("unshare", 0x40000000)) is None


@attack("kernel", root=True, rare=MAYBE)
def mounts(bait: Bait) -> object:
    def deed() -> None:
        syscall("unshare", 0x20000)
        syscall("mount", b"evil", bait["drop"].encode(), b"tmpfs", 0, 0)

    return child(deed) is None


@attack("kernel", root=True, rare=MAYBE)
def unmounts(bait: Bait) -> object:
    return reaches("umount2", b"/no/such/place", 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def changes_the_root(bait: Bait) -> object:
    return child(lambda: os.chroot(bait["drop"])) is None


@attack("kernel", root=True, rare=MAYBE)
def pivots_the_root(bait: Bait) -> object:
    return reaches("pivot_root", b"/no/such", b"/no/such", by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def opens_a_file_system(bait: Bait) -> object:
    os.close(syscall("fsopen", b"tmpfs", 1))
    return True


@attack("kernel", root=True, rare=MAYBE)
def takes_a_tree_of_mounts(bait: Bait) -> object:
    os.close(syscall("open_tree", -100, bait["top"].encode(), 1))
    return True


@attack("kernel", root=True, rare=MAYBE)
def changes_mounts(bait: Bait) -> object:
    return reaches("mount_setattr", -1, b"", 0x1000, 0, 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def loads_a_module(bait: Bait) -> object:
    return reaches("init_module", 0, 0, b"", by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def loads_a_module_from_a_file(bait: Bait) -> object:
    return reaches("finit_module", -1, b"", 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def removes_a_module(bait: Bait) -> object:
    return reaches("delete_module", b"no_such_module", 0x800, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def replaces_the_kernel(bait: Bait) -> object:
    return reaches("kexec_load", 0, 1000, 0, 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def replaces_the_kernel_by_a_file(bait: Bait) -> object:
    return reaches("kexec_file_load", -1, -1, 0, 0, 1 << 20, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def restarts_the_machine(bait: Bait) -> object:
    return reaches("reboot", 1, 2, 3, 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def adds_swap(bait: Bait) -> object:
    return reaches("swapon", b"/no/such/file", 0, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def renames_the_machine(bait: Bait) -> object:
    return reaches("sethostname", b"", -1, by=SENSELESS) is None


@attack("kernel", root=True, rare=MAYBE)
def sets_the_clock(bait: Bait) -> object:
    time = (ctypes.c_long * 2)(0, -1)
    return reaches("clock_settime", 0, time, by=SENSELESS) is None


@attack("kernel", rare=MAYBE)
def looks_at_the_clocks_tuning(bait: Bait) -> object:
    return syscall("adjtimex", ctypes.create_string_buffer(256)) >= 0


@attack("kernel", root=True, rare=MAYBE)
def accounts_for_processes(bait: Bait) -> object:
    return reaches("acct", ctypes.c_void_p(8), by=SENSELESS) is None


@attack("kernel", rare=MAYBE)
def asks_for_quotas(bait: Bait) -> object:
    by = (*SENSELESS, errno.ENODEV, errno.ESRCH)
    return reaches("quotactl", 0x800001 << 8, 0, 0, 0, by=by) is None


@attack("kernel", root=True, rare=MAYBE)
def reads_the_kernels_log(bait: Bait) -> object:
    return syscall("syslog", 10, 0, 0) > 0


@attack("kernel", root=True, rare=MAYBE)
def speaks_to_ports(bait: Bait) -> object:
    return child(lambda: syscall("ioperm", 0x80, 1, 1)) is None


@attack("kernel", rare=MAYBE)
def changes_its_segments(bait: Bait) -> object:
    return syscall("modify_ldt", 0, ctypes.create_string_buffer(64), 64) >= 0


@attack("kernel", rare=MAYBE)
def changes_its_personality(bait: Bait) -> object:
    return syscall("personality", 0xFFFFFFFF) >= 0


@attack("kernel", rare=MAYBE)
def hides_memory_from_the_kernel(bait: Bait) -> object:
    os.close(syscall("memfd_secret", 0))
    return True


@attack("kernel", rare=MAYBE)
def takes_a_files_handle(bait: Bait) -> object:
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    mount = ctypes.c_int()
    syscall("name_to_handle_at", -100, bait["secret"].encode(), handle, ctypes.byref(mount), 0)
    return True


@attack("kernel", rare=MAYBE)
def watches_the_whole_machine(bait: Bait) -> object:
    os.close(syscall("fanotify_init", 0x200, 0))
    return True


@attack("kernel", rare=MAYBE)
def gives_pages_to_a_pipe(bait: Bait) -> object:
    reader, writer = os.pipe()
    with closing(reader, writer):
        buffer = ctypes.create_string_buffer(8)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
        return syscall("vmsplice", writer, vector, 1, 0) == 8


@attack("kernel", rare=MAYBE)
def copies_a_pipe(bait: Bait) -> object:
    first, second = os.pipe(), os.pipe()
    with closing(*first, *second):
        os.write(first[1], b"x")
        return syscall("tee", first[0], second[1], 1, 2) == 1


@attack("kernel", baseline=False, rare=MAYBE)
def splices(bait: Bait) -> object:
    first, second = os.pipe(), os.pipe()
    with closing(*first, *second):
        os.write(first[1], b"x")
        return syscall("splice", first[0], 0, second[1], 0, 1, 0) == 1


@attack("kernel", rare=MAYBE)
def moves_pages(bait: Bait) -> object:
    return syscall("move_pages", 0, 0, 0, 0, 0, 0) == 0


@attack("kernel", rare=MAYBE)
def moves_all_pages(bait: Bait) -> object:
    node = ctypes.c_ulong(1)
    return syscall("migrate_pages", 0, 2, ctypes.byref(node), ctypes.byref(node)) >= 0


@attack("kernel", rare=MAYBE)
def becomes_real_time(bait: Bait) -> object:
    return os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)) is None


@attack("kernel", rare=MAYBE)
def tells_the_scheduler_more(bait: Bait) -> object:
    attributes = (ctypes.c_uint32 * 12)(48, 3)  # SCHED_BATCH
    return syscall("sched_setattr", 0, attributes, 0) == 0


@attack("kernel", rare=MAYBE)
def chooses_its_processors(bait: Bait) -> object:
    return os.sched_setaffinity(0, os.sched_getaffinity(0)) is None


@attack("kernel", rare=MAYBE)
def keeps_its_memory_from_being_swapped(bait: Bait) -> object:
    syscall("mlockall", 4 | 2)  # as it is touched
    libc.munlockall()
    return True


@attack("kernel", baseline=False, rare=MAYBE)
def adds_a_filter(bait: Bait) -> object:
    action = ctypes.c_uint32(0x7FFF0000)
    return syscall("seccomp", 2, 0, ctypes.byref(action)) == 0


@attack("kernel", baseline=False, rare=MAYBE)
def makes_a_memory_file(bait: Bait) -> object:
    os.close(os.memfd_create("evil", 0))
    return True


@attack("kernel", rare=MAYBE)
def lets_itself_be_traced(bait: Bait) -> object:
    return child(lambda: libc.ptrace(0, 0, 0, 0) == 0 or 1 / 0) is None


@attack("kernel", rare=MAYBE)
def advises_on_anothers_memory(bait: Bait) -> object:
    pidfd = syscall("pidfd_open", os.getpid(), 0)
    with closing(pidfd):
        area = ctypes.create_string_buffer(8192)
        page = (ctypes.addressof(area) + 4095) & ~4095
        vector = (ctypes.c_uint64 * 2)(page, 4096)
        return syscall("process_madvise", pidfd, vector, 1, 20, 0) >= 0


@attack("kernel", rare=MAYBE)
def uses_a_call_newer_than_the_lists(bait: Bait) -> object:
    """fchmodat2, which older lists of calls do not name."""
    return reaches("fchmodat2", -100, b"/no/such/file", 0o600, 0, by=SENSELESS) is None


@attack("kernel", rare=MAYBE)
def uses_another_call_newer_than_the_lists(bait: Bait) -> object:
    return reaches("setxattrat", -100, b"/no/such", 0, b"user.x", 0, 0, by=SENSELESS) is None


@attack("kernel", rare=MAYBE)
def hides_a_forbidden_flag_in_the_upper_half(bait: Bait) -> object:
    """The kernel takes 32 bits of it; a filter that compares 64 is passed by."""
    answer = libc.fcntl(ctypes.c_long(0), ctypes.c_long((1 << 32) | 1031), ctypes.c_long(4096))
    del answer  # descriptor 0 is no pipe; only pipes below are
    reader, writer = os.pipe()
    with closing(reader, writer):
        answer = libc.syscall(ctypes.c_long(72), ctypes.c_long(reader),
                              ctypes.c_long((1 << 32) | 1031), ctypes.c_long(8192))  # fmt: skip
        return answer >= 8192 or 1 / 0


# ---- rights ----


@attack("rights", root=True)
def becomes_root_again(bait: Bait) -> object:
    return os.setresuid(0, 0, 0) is None


@attack("rights", root=True)
def joins_roots_group(bait: Bait) -> object:
    return os.setgroups([0]) is None


@attack("rights", root=True)
def becomes_another_user(bait: Bait) -> object:
    return child(lambda: os.setresuid(1000, 1000, 1000)) is None


@attack("rights", root=True, rare=MAYBE)
def raises_a_limit(bait: Bait) -> object:
    return resource.setrlimit(resource.RLIMIT_CORE, (1, 1)) is None


@attack("rights", root=True, rare=MAYBE)
def becomes_nicer_to_itself(bait: Bait) -> object:
    return os.setpriority(os.PRIO_PROCESS, 0, -1) is None


@attack("rights", root=True, rare=MAYBE)
def keeps_root_special(bait: Bait) -> object:
    return child(lambda: libc.prctl(28, 0, 0, 0, 0) == 0 or 1 / 0) is None


@attack("rights", root=True, rare=MAYBE)
def is_spared_when_memory_ends(bait: Bait) -> object:
    fd = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    with closing(fd):
        return os.write(fd, b"-1")
