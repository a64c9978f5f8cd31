"""Mounts of a worker's own: a private /dev/shm and /proc, and ways through closed directories.

Where workers have a user of their own, a closed directory above something granted (a home
with mode 0700) is hidden by an empty one, in which what was granted appears again; what belongs
to root alone is shown as the worker's own. Where they are the host's user, all that was not
granted for writing is made read-only. See csrc/security/sandbox_namespace.c.
"""

from __future__ import annotations

import os
import stat

from pyproc import _boxes, _core, _ids
from pyproc._places import is_below, outermost
from pyproc.errors import SandboxUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyproc._confine import Confinement

_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_SHM = "/dev/shm"  # noqa: S108  # nosec B108: replaced by one of the worker's own


def plan(confinement: Confinement) -> None:
    """Fills in the mounts of stage one. SandboxUnavailable when the way cannot be made."""
    first = confinement.first
    if not confinement.own_user:
        if first.namespaces & _NEWNS and first.namespaces & _NEWUSER:
            _lock(confinement)
        return
    empties, places = _needs(confinement)
    if not first.namespaces & _NEWNS:
        if empties or any(value & _boxes.MAPPED for value in places.values()):
            _refuse(empties, places, _core.try_namespaces(_NEWNS))
        return
    first.mounts = [(_boxes.EMPTY, path) for path in empties]
    first.mounts += [(places[path], path) for path in sorted(places, key=len)]
    first.mounts += [(_boxes.SEAL, path) for path in empties]
    if confinement.wanted.profile == "baseline":
        _share_memory(confinement)
        _show_processes(confinement)


def _share_memory(confinement: Confinement) -> None:
    """A /dev/shm of the worker's own, unless the host's was granted."""
    if not os.path.isdir(_SHM) or any(is_below(p, [_SHM]) for p in confinement.wanted.write):
        return
    confinement.first.mounts.append((_boxes.TMPFS, _SHM))
    confinement.first.grant(_SHM, _boxes.CHANGE)


def _show_processes(confinement: Confinement) -> None:
    """A /proc that shows the worker its own processes and no other's."""
    confinement.first.mounts.append((_boxes.PROC, "/proc"))
    confinement.first.grant("/proc", _boxes.LOOK)


def _lock(confinement: Confinement) -> None:
    """Workers are the host's own user: what they may not write becomes read-only for them, so that
    modes, owners and times stay too, of which Landlock knows nothing."""
    first = confinement.first
    granted = [*confinement.written, *([confinement.scratch] if confinement.scratch else [])]
    first.mounts = [(_boxes.LOCK, "/")]
    for path in sorted(outermost(granted), key=len):
        mode = os.stat(path).st_mode
        if not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode):  # these are written all the same
            first.mounts.append((_boxes.WRITE, path))
    if confinement.wanted.profile == "baseline":
        _share_memory(confinement)
        if first.namespaces & _NEWPID:
            _show_processes(confinement)


def _needs(confinement: Confinement) -> tuple[list[str], dict[str, int]]:
    """Directories to hide, and what must appear again: path -> kind of mount."""
    first = confinement.first
    written = {*confinement.written}
    closed: set[str] = set()
    places: dict[str, int] = {}
    paths = [path for path, rights in first.rules.items() if _is_place(path, rights)]
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths}
    try:
        with _ids.acting_as(first.uid, first.gid):
            for path, fd in opened.items():
                parent = _ids.closed_parent(path)
                if parent is not None:
                    closed.add(parent)
                kind = _boxes.WRITE if path in written else _boxes.READ
                if not _ids.can_read(fd) or (path in written and not _may_write(fd, first.uid)):
                    places[path] = kind | _boxes.MAPPED
                elif parent is not None:
                    places[path] = kind
    finally:
        for fd in opened.values():
            os.close(fd)
    if confinement.scratch is not None:
        places.pop(confinement.scratch, None)
    return outermost(closed), _needed(places)


def _needed(places: dict[str, int]) -> dict[str, int]:
    """Without what another mount shows anyway."""
    return {
        path: value
        for path, value in places.items()
        if not any(
            path != other and is_below(path, [other]) and value in (kind, _boxes.READ)
            for other, kind in places.items()
        )
    }


def _is_place(path: str, rights: int) -> bool:
    if path.startswith(("/proc", "/sys", "/dev")):
        return False
    return bool(rights & (_boxes.READ_FILE | _boxes.READ_DIR)) and os.path.exists(path)


def _may_write(fd: int, uid: int) -> bool:
    status = os.fstat(fd)
    if status.st_uid == uid:
        return bool(status.st_mode & 0o200)
    return bool(status.st_mode & 0o002)


def _refuse(empties: list[str], places: dict[str, int], answer: int) -> None:
    path = empties[0] if empties else next(p for p, v in places.items() if v & _boxes.MAPPED)
    raise SandboxUnavailable(
        f"a user of its own that can read {path!r}",
        "a private mount namespace",
        os.strerror(-answer),
        f"chmod o+x {path!r}, move the environment, or name a user: Sandbox(user=)",
    )
