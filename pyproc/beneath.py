"""Paths that somebody else chose, kept below a directory of ours.

The path is walked one component at a time with the directory's descriptor, and no symbolic link is
followed: what openat2(2) means by RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, on any kernel and
under any sandbox. Host and worker may use it. Any thread.
"""

from __future__ import annotations

import os
import stat

from pyproc.errors import UnsafePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SHOWN_MAX = 200
_PARTS_MAX = 256


def safe_path(base: str | os.PathLike[str], user_path: str | os.PathLike[str]) -> str:
    """The absolute path of `user_path` below the directory `base`.

    Raises UnsafePath for a path that is empty, absolute, holds `..` or NUL, or leads through or
    to a symbolic link. `base` is yours and may be one. What the path names need not exist. The
    answer is true at the moment of the call: where somebody else may change the directory
    meanwhile, use open_beneath. OSError: `base` cannot be opened, or a part is no directory.
    """
    parts = _parts(user_path)
    root = os.path.abspath(os.fspath(base))
    parent = _parent(root, parts, user_path, must_exist=False)
    if parent is not None:
        try:
            _look(parent, parts[-1], user_path)
        except FileNotFoundError:
            pass
        finally:
            os.close(parent)
    return os.path.join(root, *parts)


def open_beneath(
    base: str | os.PathLike[str],
    user_path: str | os.PathLike[str],
    mode: str = "rb",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """Opens the regular file `user_path` below the directory `base`, without a race.

    The rules are those of safe_path, applied to the very file that is opened; `mode` and what
    follows are those of open(). Raises UnsafePath, also for what is not a regular file, and
    OSError as open() does.
    """
    parts = _parts(user_path)

    def opener(_: str, flags: int) -> int:
        parent = _parent(os.path.abspath(os.fspath(base)), parts, user_path, must_exist=True)
        assert parent is not None
        try:
            return _open_file(parent, parts[-1], flags, user_path)
        finally:
            os.close(parent)

    return open(
        os.fspath(user_path), mode, encoding=encoding, errors=errors, newline=newline, opener=opener
    )


def _refuse(user_path: object, why: str) -> UnsafePath:
    shown = repr(user_path)
    if len(shown) > _SHOWN_MAX:
        shown = shown[:_SHOWN_MAX] + "..."
    return UnsafePath(f"the path {shown} {why}")


def _parts(user_path: str | os.PathLike[str]) -> list[str]:
    """The components of a path that is safe to look at."""
    path = os.fspath(user_path)
    if not isinstance(path, str):
        raise TypeError(f"the path is a str or a pathlib.Path, not {type(path).__name__}")
    if "\0" in path:
        raise _refuse(path, "holds a NUL")
    if path.startswith("/"):
        raise _refuse(path, "is absolute")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise _refuse(path, "is empty")
    if ".." in parts:
        raise _refuse(path, "holds '..'")
    if len(parts) > _PARTS_MAX:
        raise _refuse(path, f"has more than {_PARTS_MAX} parts")
    return parts


def _parent(root: str, parts: list[str], user_path: object, *, must_exist: bool) -> int | None:
    """The directory of the last part, open; None when it need not exist and does not."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            _look(directory, part, user_path)
            inner = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = inner
    except FileNotFoundError:
        os.close(directory)
        if must_exist:
            raise
        return None
    except BaseException:
        os.close(directory)
        raise
    return directory


def _look(directory: int, part: str, user_path: object) -> None:
    """Refuses a symbolic link. Whoever puts one there afterwards meets O_NOFOLLOW."""
    if stat.S_ISLNK(os.lstat(part, dir_fd=directory).st_mode):
        raise _refuse(user_path, f"leads over a symbolic link, {part!r}")


def _open_file(parent: int, name: str, flags: int, user_path: object) -> int:
    # Nothing is truncated before it is known to be a file; a pipe must not keep us waiting.
    early = (flags & ~os.O_TRUNC) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        _look(parent, name, user_path)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    fd = os.open(name, early, 0o666, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _refuse(user_path, "is not a regular file")
        os.set_blocking(fd, True)
        if flags & os.O_TRUNC:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd
