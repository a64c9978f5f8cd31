"""What every sandbox leaves of the system: libraries, facts, devices, and in baseline all of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pyproc import _boxes
from pyproc._boxes import LOOK, OPTIONAL, RUN, Box
from pyproc._syscalls import words

_SYSTEM = words("/usr /bin /sbin /lib /lib32 /lib64 /libx32 /etc /opt /nix/store")
_LIBRARIES = words("""
    /usr/lib /usr/lib32 /usr/lib64 /usr/libx32 /usr/local/lib /lib /lib32 /lib64 /libx32
    /nix/store
""")
_FACTS = words("""
    /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/localtime /etc/timezone
    /usr/share/zoneinfo /usr/share/locale /usr/share/fonts /usr/share/mime /etc/mime.types
    /etc/fonts /etc/magic
""")
_PROC = words("""
    /proc/cpuinfo /proc/meminfo /proc/stat /proc/loadavg /proc/uptime /proc/version
    /proc/filesystems /proc/sys/kernel /proc/sys/vm /sys/devices/system
    /sys/fs/cgroup /sys/kernel/mm/transparent_hugepage
""")
_DEVICES = words("/dev/null /dev/zero /dev/full /dev/random /dev/urandom")
_RESOLVER = words("""
    /run/systemd/resolve /run/resolvconf /etc/resolv.conf /etc/hosts /etc/nsswitch.conf
""")
#: Directories and files looked at below /etc; what lies beyond is not granted.
_ENTRIES_MAX = 10_000


def grant(box: Box, *, narrow: bool, network: bool, is_root: bool) -> None:
    """Rules for what belongs to no application. narrow: no programs, and no settings of others.
    is_root: workers are uid 0, to whom the modes of root's files mean nothing."""
    for path in _LIBRARIES if narrow else _SYSTEM:
        if path == "/etc" and is_root:
            for open_path, rights in _open_to_all(path):
                box.grant(open_path, rights | OPTIONAL)
        else:
            box.grant(path, RUN | OPTIONAL)
    for path in (*_FACTS, *_PROC):
        box.grant(path, LOOK | OPTIONAL)
    for path in _DEVICES:
        box.grant(path, LOOK | _boxes.WRITE_FILE | _boxes.IOCTL_DEV | OPTIONAL)
    if network:
        for path in _RESOLVER:
            box.grant(path, LOOK | OPTIONAL)
    box.grant("/proc/self", LOOK | OPTIONAL)


def _open_to_all(top: str) -> list[tuple[str, int]]:
    """What anybody may read from there on: whole directories where that is all that is in them."""
    closed: set[str] = set()  # directories in which something is not for all
    entries: list[tuple[str, bool]] = []
    for path, is_directory, is_open in _walk(top):
        if is_open:
            entries.append((path, is_directory))
            continue
        while path != top:
            path = os.path.dirname(path)
            closed.add(path)
    found: list[tuple[str, int]] = []
    for path, is_directory in entries:
        if path in closed:
            found.append((path, _boxes.READ_DIR))
        elif path == top or os.path.dirname(path) in closed:
            found.append((path, RUN if is_directory else RUN & ~_boxes.READ_DIR))
    return found


def _walk(top: str) -> Iterator[tuple[str, bool, bool]]:
    """Path, whether it is a directory, whether anybody may read it; closed ones are not entered."""
    left, count = [top], 0
    while left:
        path = left.pop()
        count += 1
        try:
            mode = os.lstat(path).st_mode
            is_directory = stat.S_ISDIR(mode)
            is_open = count <= _ENTRIES_MAX and mode & (0o005 if is_directory else 0o004) != 0
            if is_directory:
                is_open = is_open and mode & 0o005 == 0o005
            yield path, is_directory, is_open
            if is_directory and is_open:
                left += [entry.path for entry in os.scandir(path) if not entry.is_symlink()]
        except OSError:
            continue
