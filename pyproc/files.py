"""Files as arguments: opened by the host, passed by descriptor, read in a worker.

The worker needs no right to open anything: it gets this very file, with no more access than the
mode says. A descriptor of the host's is opened anew, so that neither end moves the other's position
and a file that the host may write to arrives read-only. All functions may be called from any
thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat

from pyproc._extension import FILE, Unfit
from pyproc.codec import encode_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

ATTACHMENTS_MAX = 16  # PYPROC_ATTACHMENTS_MAX of pyproc.h
_HASHED_MAX = 2**20
_MODES: dict[str, int] = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}
_NUMBERS = {mode: number for number, mode in enumerate(_MODES)}
#: Of a file that is open already, these are not asked for again.
_MAKING = os.O_CREAT | os.O_TRUNC
_BYTES = (bytes, bytearray, memoryview)


class File:
    """A file for one argument of a call; the function gets it as an open binary file.

    source: a path (str or pathlib.Path), opened for each call; an open file object or a descriptor,
    which stay yours and must be open while the call is made; or bytes, or an io.BytesIO. mode:
    "rb", "r+b", "wb" or "ab". The function begins where the file object stands, and has a
    position of its own. As an annotation it stands for any binary file.

    Raises TypeError and ValueError at once for what is none of these. The call raises CodecError
    for what is no regular file or pipe, and OSError for what cannot be opened.
    """

    __slots__ = ("mode", "source")

    def __init__(self, source: object, mode: str = "rb") -> None:
        mode = "r+b" if mode == "rb+" else mode
        if mode not in _MODES:
            raise ValueError(
                f"File(mode={mode!r}): one of {', '.join(map(repr, _MODES))} is needed"
            )
        if isinstance(source, bool) or not (
            isinstance(source, (str, int, os.PathLike, *_BYTES)) or hasattr(source, "fileno")
        ):
            raise TypeError(
                f"File({type(source).__name__}): a path, an open file, a descriptor or bytes needed"
            )
        if isinstance(source, (*_BYTES, io.BytesIO)) and mode != "rb":
            raise ValueError(f"File(bytes, mode={mode!r}): bytes can only be read")
        self.source: Any = source
        self.mode = mode

    def __repr__(self) -> str:
        shown = type(self.source).__name__ if isinstance(self.source, _BYTES) else self.source
        return f"pyproc.File({shown!r}, {self.mode!r})"


class Attachments:
    """The files among one call's arguments: found by the packer, opened, numbered."""

    # Of the class until there is something: each queued call makes one of these.
    _fds: tuple[int, ...] = ()
    _files: tuple[File | None, ...] = ()
    _is_again = False
    #: Bytes in memory files that live for this call alone: they count for max_queue_bytes.
    _held = 0
    #: From which size on buffers go in memory (pyproc/buffers.py); None: they do not.
    large: int | None = None
    #: Why a file could not be opened; the packer's own error would hide it.
    failed: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def any(self) -> bool:
        """Whether there are files."""
        return bool(self._fds)

    def close(self) -> None:
        """Gives back what is still ours."""
        fds, self._fds, self._files, self._held = self._fds, (), (), 0
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def finish(self) -> None:
        """All is packed."""

    def pack(self, value: object) -> tuple[int, bytes] | None:
        """The extension of a value that is a file; None for others. Raises Unfit, OSError."""
        file = as_file(value)
        if file is None:
            return None
        number = len(self._fds)
        if number == ATTACHMENTS_MAX:
            raise Unfit(f"a call carries at most {ATTACHMENTS_MAX} files, this is one more")
        try:
            known = identify(file)
            fd = _open(file)
        except OSError as error:
            self.failed = error
            raise
        self._fds = (*self._fds, fd)
        self._files = (*self._files, file)
        if isinstance(file.source, (*_BYTES, io.BytesIO)):
            self._held += os.fstat(fd).st_size
        return FILE, bytes([number, _NUMBERS[file.mode]]) + known

    def lend(self, options: dict[str, Any] | None) -> dict[str, Any] | None:
        """The call's options with the descriptors, which stay ours."""
        if not self._fds:
            return options
        return {**(options or {}), "attachments": self._fds, "attached_size": self._held}

    def give(self, options: dict[str, Any] | None, keep: bool) -> tuple[Given, Any]:
        """The same for a call that takes them; with `keep` it gets copies."""
        given = Given()
        given._held = self._held
        if keep:
            for fd, file in zip(self._fds, self._files, strict=True):
                given.add(_copy(fd, file, self._is_again))
            self._is_again = True
        else:
            given._fds, self._fds, self._files = self._fds, (), ()
        return given, given.lend(options)

    def __del__(self) -> None:
        if self._fds:
            with contextlib.suppress(OSError):
                self.close()


class Given(Attachments):
    """Descriptors on their way into a call: closed here unless it has taken them."""

    def add(self, fd: int) -> None:
        """One more, which is ours from now on."""
        self._fds = (*self._fds, fd)

    def taken(self) -> None:
        """The call has them."""
        self._fds = ()


#: Of calls without files, which are most: shared by all, never filled.
NO_FILES = Attachments()


def encode_call(
    args: tuple[object, ...], kwargs: Mapping[str, object], files: Attachments
) -> tuple[tuple[bytes, int, tuple[str, ...]], Attachments]:
    """`codec.encode_arguments`, and what of them goes beside the payload, in `files`."""
    encoded = encode_arguments(args, kwargs, files)
    return encoded, files if files.any else NO_FILES


class Described(Attachments):
    """Only names what would be opened: for telling whether two requests are the same."""

    _count = 0

    def pack(self, value: object) -> tuple[int, bytes] | None:
        """As in a call, with nothing opened."""
        file = as_file(value)
        if file is None:
            return None
        self._count += 1
        return FILE, bytes([min(self._count, 255) - 1, _NUMBERS[file.mode]]) + identify(file)


def as_file(value: object) -> File | None:
    """The File that a value is or stands for; None: it is something else. Raises Unfit."""
    if type(value) is File:
        return value
    if isinstance(value, io.TextIOBase):
        raise Unfit("it is open as text: open it with 'rb', or pass its .buffer")
    if isinstance(value, io.IOBase) or type(value).__name__ in (
        "_TemporaryFileWrapper",
        "SpooledTemporaryFile",
    ):
        return File(value)
    return None


def identify(file: File) -> bytes:
    """What makes two files the same content, as far as a look tells."""
    source = file.source
    if isinstance(source, (*_BYTES, io.BytesIO)):
        import hashlib

        content = _content(source)
        digest = hashlib.blake2b(content[:_HASHED_MAX], digest_size=16).digest()
        return digest + len(content).to_bytes(8, "big")
    if isinstance(source, str | os.PathLike):
        if file.mode != "rb":
            return os.fsencode(source)[:64]
        found, position = os.stat(source), 0
    else:
        fd = _number_of(source)
        found, position = os.fstat(fd), _position(source, fd)
    known = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, position)
    return b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in known)


def _open(file: File) -> int:
    source = file.source
    if isinstance(source, (*_BYTES, io.BytesIO)):
        return _sealed(_content(source))
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), _MODES[file.mode])
    return _open_again(source, file.mode)


def _content(source: Any) -> memoryview:
    if isinstance(source, io.BytesIO):
        return memoryview(source.getvalue())[source.tell() :]
    return memoryview(source).cast("B")


def _sealed(content: memoryview) -> int:
    """A memory file with that content, which nobody can change any more."""
    fd = os.memfd_create("pyproc-input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, len(content))
        at = 0
        while at < len(content):
            at += os.pwrite(fd, content[at:], at)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return _reopen(fd, os.O_RDONLY)
    finally:
        os.close(fd)


def _open_path(path: str | bytes, flags: int) -> int:
    # A pipe without a writer must not keep us waiting, and nothing is cut short before it is known
    # to be a file.
    early = (flags & ~os.O_TRUNC) | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = os.open(path, early, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Unfit(f"{os.fsdecode(path)!r} is not a regular file")
        os.set_blocking(fd, True)
        if flags & os.O_TRUNC:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _number_of(source: Any) -> int:
    """The descriptor of a file object, or the int itself. Raises Unfit, OSError."""
    if isinstance(source, int):
        return source
    try:
        fd = source.fileno()
    except ValueError as error:
        raise Unfit(f"the file is closed ({error})") from None
    except io.UnsupportedOperation:
        raise Unfit("it has no descriptor: pass bytes, or a file of the system") from None
    if not isinstance(fd, int):
        raise Unfit("its fileno() is no number")
    return fd


def _position(source: Any, fd: int) -> int:
    """Where the object stands, which has perhaps read ahead; 0 for what has no position."""
    try:
        if isinstance(source, int):
            return os.lseek(fd, 0, os.SEEK_CUR)
        return int(source.tell())
    except (OSError, AttributeError):
        return 0


def _open_again(source: Any, mode: str) -> int:
    fd = _number_of(source)
    kind = os.fstat(fd).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise Unfit("only regular files and pipes can be passed, no directory, socket or device")
    wanted = _MODES[mode] & ~_MAKING
    access = fcntl.fcntl(fd, fcntl.F_GETFL)
    _check_access(access, wanted, mode)
    if mode != "rb" and hasattr(source, "flush"):
        source.flush()
    if stat.S_ISFIFO(kind):
        if access & os.O_ACCMODE != wanted & os.O_ACCMODE:
            raise Unfit(f"the pipe is not open for exactly {mode!r}")
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    position = _position(source, fd)
    try:
        new = _reopen(fd, wanted)
    except OSError as error:
        # Without /proc, or without the right to open it by now: the same description, when it
        # gives no more than was asked for.
        refused = error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP)
        if not refused or access & os.O_ACCMODE != wanted & os.O_ACCMODE:
            raise
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    if position and mode != "ab":
        os.lseek(new, position, os.SEEK_SET)
    return new


def _copy(fd: int, file: File | None, is_again: bool) -> int:
    """For one attempt of several: with a position of its own, where the first began."""
    if file is None:  # memory, which has none
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    is_path = isinstance(file.source, str | os.PathLike)
    if is_again and is_path and _MODES[file.mode] & os.O_TRUNC:
        os.ftruncate(fd, 0)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    new = _reopen(fd, _MODES[file.mode] & ~_MAKING)
    os.lseek(new, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
    return new


def _reopen(fd: int, flags: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC | os.O_NOCTTY)


def _check_access(access: int, wanted: int, mode: str) -> None:
    """The worker gets nothing that the host's descriptor does not have."""
    if access & os.O_PATH:
        raise Unfit("its descriptor is O_PATH: it is not open for reading")
    have, want = access & os.O_ACCMODE, wanted & os.O_ACCMODE
    if have not in (want, os.O_RDWR):
        opened = "reading" if have == os.O_RDONLY else "writing"
        needed = {os.O_RDONLY: "reading", os.O_WRONLY: "writing", os.O_RDWR: "both"}[want]
        raise Unfit(f"it is open for {opened} only, mode {mode!r} needs {needed}: see pyproc.File")
    if access & os.O_APPEND and want != os.O_RDONLY and mode != "ab":
        raise Unfit("it is open for appending only: pass pyproc.File(file, 'ab')")
