"""Large buffers in a worker: arguments seen in place, results put into memory of the host's.

The host makes all memory, since a sandboxed worker may not, and since the host must know its
size: it never maps what it did not make.
"""

from __future__ import annotations

import os

from pyproc import _large
from pyproc._worker import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyproc import _worker

#: PP_GRANTS_MAX of csrc/pool/pool.h: of one call, or of all items of a chunk.
REQUESTS_MAX = 64
_ALIGN = 64
_EFBIG = 27


class Inline(Exception):
    """There is no memory: small enough values go in the message itself."""

    def __init__(self, error: OSError | None, size: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.size = size

    def why(self) -> str:
        """What else than the limit was in the way."""
        if self.error is None or self.error.errno == _EFBIG:
            return ""
        return f"; the host has no memory for it: {self.error.strerror}"


class Results:
    """Memory for results of the running call. One a worker."""

    def __init__(self, worker: _worker.Worker) -> None:
        self._worker = worker
        threshold, self.most = worker.memory_limits()
        #: From which size on buffers go in memory; None: never.
        self.large: int | None = threshold if threshold and self.most else None
        self._call = self._asked = self._given = 0

    def gather(self) -> Gathered | None:
        """For one result; None when nothing goes in memory."""
        if self.large is None:
            return None
        call = self._worker.call()
        if call != self._call:
            self._call, self._asked, self._given = call, 0, 0
        return None if self._asked >= REQUESTS_MAX else Gathered(self, self.large, self._given)

    def ask(self, size: int) -> tuple[int, bool]:
        """A descriptor and whether its pages are there. Raises Inline."""
        self._asked += 1
        try:
            fd, warm = self._worker.memory(size)
        except OSError as error:
            raise Inline(error, size) from None
        self._given += 1
        return fd, warm


class Gathered:
    """The large buffers of one result, in the way in which the packer asks for extensions."""

    #: Nothing is opened while it is packed.
    failed: OSError | None = None

    def __init__(self, results: Results, large: int, number: int) -> None:
        self.large: int | None = large
        self._results = results
        self._number = number
        self._parts: list[tuple[_large.Large, int]] = []
        self.size = 0

    def pack(self, value: Any) -> tuple[int, bytes] | None:
        """The extension of a large value; None for others."""
        found = _large.look(value, self.large or 0)
        if found is None:
            return None
        offset = -(-self.size // _ALIGN) * _ALIGN
        self.size = offset + found.size
        self._parts.append((found, offset))
        return found.pack(self._number, offset)

    def finish(self) -> None:
        """Asks for the memory and fills it. Raises Inline when there is none."""
        if not self._parts:
            return
        if self.size > self._results.most:
            raise Inline(None, self.size)
        fd, warm = self._results.ask(self.size)
        try:
            self._fill(fd, warm)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Lets go of the values."""
        self._parts = []

    def _fill(self, fd: int, warm: bool) -> None:
        """New pages are written, which is much faster than touching them; those that are there are
        mapped, and so are they where RLIMIT_FSIZE is in the way."""
        if not warm and all(found.is_whole for found, _ in self._parts):
            try:
                for found, offset in self._parts:
                    _write(fd, memoryview(found.data).cast("B"), offset)
                return
            except OSError as error:
                if error.errno != _EFBIG:
                    raise
        whole = memoryview(Map(fd, True))
        for found, offset in self._parts:
            if found.is_whole:
                whole[offset : offset + found.size] = memoryview(found.data).cast("B")
            else:
                import numpy

                part = numpy.frombuffer(whole, "u1", found.size, offset)
                part.view(found.data.dtype).reshape(found.data.shape)[...] = found.data


def _write(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
