"""The files of an audit log: created privately, followed by no link, oldest first.

PATH is the newest; older ones are PATH.000000000001 and so on, by the number of their first line.
PATH.head ends the chain, PATH.anchor begins it where older files were pruned, PATH.lock says that
somebody writes.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections import deque
from collections.abc import Iterator

from pyproc.audit import chain
from pyproc.audit.chain import Key, Mark
from pyproc.errors import AuditError

_OLD = re.compile(r"\.\d{12,20}")


def open_private(path: str) -> int:
    """A descriptor of a file of mode 0600 that is no link. OSError or AuditError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(fd)
        raise AuditError(f"{path!r} is no plain file with one name")
    if status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise AuditError(
            f"{path!r} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}, owner "
            f"{status.st_uid}); chmod 600 it"
        )
    return fd


def take_lock(place: str) -> int:
    """The lock that goes with being the writer."""
    fd = open_private(place + ".lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AuditError(
            f"another process writes to the audit log {place!r}; give each its own path"
        ) from None
    return fd


def old_files(place: str) -> list[str]:
    """The set-aside files, oldest first."""
    folder, name = os.path.split(place)
    found = []
    for entry in os.listdir(folder or "."):
        if entry.startswith(name) and _OLD.fullmatch(entry[len(name) :]):
            found.append(os.path.join(folder, entry))
    return sorted(found, key=lambda path: int(path.rpartition(".")[2]))


def all_files(place: str) -> list[str]:
    """All files with lines, oldest first."""
    return [*old_files(place), *([place] if os.path.lexists(place) else [])]


def beyond(place: str, keep: int) -> list[str]:
    """Old files that are more than `keep`."""
    old = old_files(place)
    return old[: max(0, len(old) - keep)]


def lines(path: str) -> Iterator[bytes]:
    """The lines of one file, each cut at a bound, so that no file can fill the memory."""
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        while line := file.readline(chain.LINE_MAX + 2):
            yield line


def cut_torn(fd: int) -> int:
    """Removes a last line without an end, which a crash has left; answers its bytes."""
    size = os.fstat(fd).st_size
    at = size
    while at > 0:
        start = max(0, at - 4096)
        found = os.pread(fd, at - start, start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at != size:
        os.ftruncate(fd, at)
    return size - at


def last_line(place: str, key: Key) -> Mark | None:
    """Where the lines end. AuditError when the last one was not written with this key."""
    for path in reversed(all_files(place)):
        size = os.path.getsize(path)
        if size == 0:
            continue
        with open(path, "rb") as file:
            file.seek(max(0, size - chain.LINE_MAX - 2))
            data = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        try:
            line = chain.parse_line(data)
        except ValueError as error:
            raise AuditError(f"{path!r}: the last line is damaged: {error}") from None
        if not line.is_sealed_by(key):
            raise AuditError(
                f"{path!r}: the last line was changed, or written with another key; move the log "
                "and its head record away to begin a new one"
            )
        return Mark(str(line.fields["log"]), line.seq, line.hash)
    return None


def set_aside(place: str, fd: int) -> None:
    """Gives the file its old name, unless somebody has moved it away already."""
    try:
        status = os.stat(place, follow_symlinks=False)
    except FileNotFoundError:
        return
    mine = os.fstat(fd)
    if (status.st_dev, status.st_ino) != (mine.st_dev, mine.st_ino):
        return
    first = chain.parse_line(next(lines(place), b""))
    os.rename(place, f"{place}.{first.seq:012d}")


def anchor_of(place: str, key: Key) -> Mark | None:
    """After which line the kept part begins; None: it is whole. ValueError: it is not sound."""
    try:
        with open(place + ".anchor", "rb") as file:
            return chain.parse_mark(file.read(4096), key, chain.ANCHOR)
    except FileNotFoundError:
        return None


def prune(place: str, key: Key, names: list[str]) -> Mark | None:
    """Removes the oldest files and notes where the rest begins; answers the last line that went.

    The note comes first: whatever happens, `verify` never finds lines missing that were pruned.
    """
    old = old_files(place)
    if names != old[: len(names)]:
        raise AuditError("only the oldest files can be pruned: the chain goes on from an anchor")
    if not names:
        return None
    try:
        line = chain.parse_line(deque(lines(names[-1]), 1).pop())
    except (ValueError, IndexError) as error:
        raise AuditError(f"{names[-1]!r}: the last line is damaged: {error}") from None
    mark = Mark(str(line.fields["log"]), line.seq, line.hash)
    fresh = place + ".anchor.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, mark.pack(key, chain.ANCHOR))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(fresh, place + ".anchor")
    for name in names:
        os.unlink(name)
    return mark
