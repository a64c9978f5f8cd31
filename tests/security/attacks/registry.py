"""What an attack is: a function that runs in a worker, and where it is promised to fail.

An attack answers when it has got what it wanted and raises when it has not. The host runs each
without a sandbox first: there it has to succeed, or its failure elsewhere would prove nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: What the host laid out for the attacks: names, numbers and paths; see bait.py.
Bait = dict[str, Any]
Deed = Callable[[Bait], object]

TOKEN = b"the-secret-of-the-host"


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    baseline: whether `baseline` promises that it fails, as `strict` and `compute` always do. root:
    only a host that is root can do it at all. rare: why it may fail on an ordinary kernel too, ""
    when it may not. victim: a process that is the attack's own, which must be unharmed after it.
    """

    name: str
    category: str
    deed: Deed
    baseline: bool
    root: bool
    rare: str
    victim: bool


ATTACKS: dict[str, Attack] = {}


def attack(
    category: str,
    *,
    baseline: bool = True,
    root: bool = False,
    rare: str = "",
    victim: bool = False,
) -> Callable[[Deed], Deed]:
    """Adds a function to the table."""

    def add(deed: Deed) -> Deed:
        name = deed.__name__
        if name in ATTACKS:
            raise ValueError(f"two attacks are called {name}")
        ATTACKS[name] = Attack(name, category, deed, baseline, root, rare, victim)
        return deed

    return add


class Refused(Exception):
    """The attack did not get what it wanted."""


# ---- tools of attackers ----

libc = ctypes.CDLL(None, use_errno=True)

_X86_64 = {
    "mmap": 9, "mprotect": 10, "shmget": 29, "shmat": 30, "shmctl": 31, "clone": 56, "vfork": 58,
    "shmdt": 67, "semget": 64, "semop": 65, "msgget": 68, "msgsnd": 69, "msgrcv": 70,
    "personality": 135, "modify_ldt": 154, "pivot_root": 155, "adjtimex": 159, "chroot": 161,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
    "sethostname": 170, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "tkill": 200, "sched_setaffinity": 203, "lookup_dcookie": 212,
    "remap_file_pages": 216, "clock_settime": 227, "tgkill": 234, "set_mempolicy": 238,
    "mq_open": 240, "mq_unlink": 241, "mq_timedsend": 242, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "ioprio_set": 251, "inotify_init1": 294,
    "inotify_add_watch": 254, "migrate_pages": 256, "mknodat": 259, "unshare": 272,
    "get_robust_list": 274, "splice": 275, "tee": 276, "vmsplice": 278, "move_pages": 279,
    "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "kcmp": 312, "finit_module": 313, "sched_setattr": 314, "seccomp": 317, "kexec_file_load": 320,
    "bpf": 321, "execveat": 322, "userfaultfd": 323, "pkey_mprotect": 329,
    "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "syslog": 103, "mlockall": 151,
    "utimensat": 280, "setpriority": 141, "sched_setscheduler": 144, "memfd_create": 319,
}  # fmt: skip
#: From here on the numbers are the same everywhere.
_NEW = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "pidfd_open": 434, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "memfd_secret": 447, "process_mrelease": 448, "set_mempolicy_home_node": 450,
    "cachestat": 451, "fchmodat2": 452, "setxattrat": 463,
}  # fmt: skip


def syscall(name: str, *arguments: object) -> int:
    """The system call's answer; OSError, or Refused where its number is not known here."""
    numbers = _NEW | (_X86_64 if platform.machine() == "x86_64" else {})
    if name not in numbers:
        raise Refused(f"the number of {name} is not known for {platform.machine()}")
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer = libc.syscall(ctypes.c_long(numbers[name]), *values)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(answer)


def reaches(name: str, *arguments: object, by: tuple[int, ...]) -> None:
    """A call with senseless arguments: the kernel looks at them, so the door was open."""
    try:
        syscall(name, *arguments)
    except OSError as error:
        if error.errno not in by:
            raise


def has_secret(data: object) -> bool:
    """Refuses what does not hold the host's secret."""
    found = data if isinstance(data, bytes) else str(data).encode()
    if TOKEN not in found:
        raise Refused(f"the secret is not in {found[:80]!r}")
    return True


def read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


@contextlib.contextmanager
def room() -> Iterator[str]:
    """A directory of one's own, on the disk where the bait lies too."""
    path = tempfile.mkdtemp()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[None]:
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


def child(deed: Callable[[], object]) -> None:
    """Does it in a process of its own; fails when that fails."""
    pid = os.fork()
    if pid == 0:
        try:
            deed()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise Refused("the child failed")
