"""Users of a pool's own, and what they can reach; for hosts that run as root.

A number is claimed by a lock on a file below /run/pyproc for as long as the pool is open, and
taken only when no process runs under it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager

FIRST, LAST = 61184, 65519
DIRECTORY = "/run/pyproc"
_TRIES = 256


def claim() -> tuple[int, int]:
    """A free number, and the descriptor that holds it until it is closed. Raises OSError."""
    os.makedirs(DIRECTORY, 0o755, exist_ok=True)
    busy = _running()
    for number in random.SystemRandom().sample(range(FIRST, LAST + 1), _TRIES):
        if number in busy:
            continue
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(f"{DIRECTORY}/{number}", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return number, lock
    raise OSError(f"no free user number from {FIRST} to {LAST} was found in {_TRIES} tries")


def _running() -> set[int]:
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                found.add(entry.stat().st_uid)
            except OSError:
                continue
    return found


def can_change_user() -> bool:
    """Whether this process is a root that may become anybody in the range."""
    if os.geteuid() != 0 or not has_capability(7) or not has_capability(6):
        return False
    try:
        with open("/proc/self/uid_map") as file:
            spans = [line.split() for line in file]
    except OSError:
        return False
    return any(int(first) <= FIRST and int(first) + int(n) > LAST for first, _, n in spans)


def has_capability(number: int) -> bool:
    """Whether this process has it now."""
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> number & 1)


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """This thread, and no other, meets files as that user; other threads are as before."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.geteuid(), os.getegid()
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])


def closed_parent(path: str) -> str | None:
    """The topmost directory above `path` that this user may not search."""
    parent = ""
    for part in path.split("/")[1:-1]:
        parent = f"{parent}/{part}"
        try:
            os.stat(f"{parent}/.")
        except OSError:
            return parent
    return None


def can_read(fd: int) -> bool:
    """Whether this user may read what the descriptor (O_PATH) stands for."""
    place = f"/proc/self/fd/{fd}"
    mode = os.fstat(fd).st_mode
    try:
        if stat.S_ISDIR(mode):
            os.stat(f"{place}/.")
        elif not stat.S_ISREG(mode):
            return True
        os.close(os.open(place, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
