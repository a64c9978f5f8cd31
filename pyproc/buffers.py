"""Large buffers of calls, and memory that is shared from the start.

Inside pyproc: `Parcel` gathers the large buffers (bytes, bytearray, memoryview, numpy arrays,
pyarrow buffers) of one call while it is packed, copies them once into one piece of memory, and
hands its descriptor to the call. What lies in memory of `empty` and `share` already travels
without a copy. The kernel frees all of it with the last descriptor and mapping; nothing has
a name. When memory may be used again, csrc/ipc/memory.h says.

For a payload made of bytes and a list of buffers, in either direction (pickle protocol 5), no
function of its own is needed: `[data, [memoryview, ...]]` is an ordinary value, of which
memoryviews of the threshold's size and more go by memory and arrive as read-only memoryviews.
`dump` makes the two of a value; `pickle.loads(data, buffers=...)` takes them.
"""

from __future__ import annotations

import os
import pickle  # nosec B403: nothing is unpickled here
from typing import TYPE_CHECKING, Any

from pyproc import _core, _large
from pyproc._extension import Unfit
from pyproc.files import ATTACHMENTS_MAX, Attachments

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy
    from numpy.typing import DTypeLike

_ALIGN = 64  # PP_MEMORY_ALIGN of csrc/ipc/memory.h
_DIGESTED = 2**20


class Parcel(Attachments):
    """The files and large buffers of one call. The packing thread's, until they are sent."""

    def __init__(
        self, core: _core.Pool, large: int | None, *, digests: bool = False, files: bool = True
    ) -> None:
        self._core = core
        self.large = large
        self._digests = digests
        self._takes_files = files
        self._parts: list[tuple[_large.Large, int]] = []
        self._size = 0
        self._number = -1  # of our own memory among the descriptors
        self._shared: dict[int, int] = {}  # id of memory that is shared already -> its number

    def pack(self, value: object) -> tuple[int, bytes] | None:
        """The extension of a value that is large or a file; None for others."""
        if self.large is not None:
            found = _large.look(value, self.large)
            if found is not None:
                return self._take(found)
        return super().pack(value) if self._takes_files else None

    def _take(self, found: _large.Large) -> tuple[int, bytes] | None:
        known = _core.find_memory(found.data) if found.is_whole else None
        if known is not None and self._has_room(id(known[0]) in self._shared):
            return found.pack(self._number_of(known[0]), known[1], _identity(known))
        if self._number < 0:
            if not self._has_room(False):
                return None
            self._number = self._reserve()
        offset = -(-self._size // _ALIGN) * _ALIGN
        self._size = offset + found.size
        self._parts.append((found, offset))
        return found.pack(self._number, offset, digest(found) if self._digests else b"")

    def _has_room(self, is_there: bool) -> bool:
        """For one more descriptor, and for one of our own."""
        return is_there or len(self._fds) < ATTACHMENTS_MAX - (self._number < 0)

    def _reserve(self) -> int:
        self._fds = (*self._fds, -1)
        self._files = (*self._files, None)
        return len(self._fds) - 1

    def _number_of(self, memory: _core.Memory) -> int:
        number = self._shared.get(id(memory))
        if number is None:
            number = self._reserve()
            self._put(number, memory.open())
            self._shared[id(memory)] = number
        return number

    def _put(self, number: int, fd: int) -> None:
        self._fds = (*self._fds[:number], fd, *self._fds[number + 1 :])

    def finish(self) -> None:
        """Copies what was gathered. Raises OSError when there is no memory or no descriptor."""
        if not self._parts:
            return
        parts, self._parts = self._parts, []
        memory = self._core.memory(self._size)
        for found, offset in parts:
            if found.is_whole:
                at = memory.append(found.data)
            else:
                at = memory.reserve(found.size)
                _copy_array(memory, at, found.data)
            assert at == offset
        self._put(self._number, memory.open())
        self._held += self._size

    @property
    def size(self) -> int:
        """Bytes that are copied."""
        return self._size

    def close(self) -> None:
        """Gives back what is still ours."""
        self._parts = []
        super().close()


def _copy_array(memory: _core.Memory, at: int, array: Any) -> None:
    """One copy, also of an array that is not in one piece."""
    import numpy

    part = numpy.frombuffer(memoryview(memory), "u1", array.nbytes, at)
    part.view(array.dtype).reshape(array.shape)[...] = array


def _identity(known: tuple[_core.Memory, int]) -> bytes:
    """Of memory whose content may change: which one it is."""
    return id(known[0]).to_bytes(8, "big")


def digest(found: _large.Large) -> bytes:
    """What tells two values of one kind apart, as far as the first MiB does."""
    import hashlib

    if found.is_whole:
        start: Any = memoryview(found.data).cast("B")[:_DIGESTED]
    else:
        start = found.data.reshape(-1)[: max(1, _DIGESTED // found.data.itemsize)].tobytes()
    return hashlib.blake2b(start, digest_size=16).digest()


# ---- memory that is shared from the start ----


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> numpy.ndarray[Any, Any]:
    """A new numpy array of zeros in shared memory: passing it, or a part of it, copies nothing.

    It is writable here, in every thread and in children that this process forks; a worker gets a
    read-only view of the same memory, and sees what is written meanwhile. No worker can write
    to it. The memory is freed when the last array or view of it is gone, here and in workers.
    Raises TypeError for a dtype of objects, OSError when there is no memory or no descriptor.
    Any thread.
    """
    import numpy

    kind = numpy.dtype(dtype)
    try:
        _large.refuse_objects(kind)
    except Unfit as unfit:
        raise TypeError(f"empty(dtype={dtype!r}): {unfit}") from None
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    count = 1
    for size in sizes:
        if size < 0:
            raise ValueError(f"empty(shape={shape!r}): no size may be below 0")
        count *= size
    memory = _core.Memory(max(1, count * kind.itemsize))
    made: numpy.ndarray[Any, Any] = numpy.frombuffer(memoryview(memory), kind, count)
    return made.reshape(sizes)


def share(value: Any) -> Any:
    """A copy of a numpy array, or of bytes, in shared memory; see `empty`.

    An array comes back as an array, writable here; bytes, a bytearray, a memoryview or another
    buffer as a writable memoryview. What is in shared memory already is answered as it is. Raises
    TypeError for anything else.
    """
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        import numpy

        array = numpy.asarray(value)
        if _find_array(array):
            return value
        order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        made = empty(array.shape[::-1] if order == "F" else array.shape, array.dtype)
        made = made.T if order == "F" else made
        made[...] = array
        return made
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(
            f"share({type(value).__name__}): a numpy array or a bytes-like object is needed"
        ) from None
    if view.c_contiguous and _core.find_memory(view) is not None:
        return value
    memory = _core.Memory(max(1, view.nbytes))
    memory.append(view if view.c_contiguous else view.tobytes())
    return memoryview(memory)[: view.nbytes]


def _find_array(array: Any) -> bool:
    if array.nbytes == 0:
        return False
    whole = array if array.flags.c_contiguous else array.T
    if not whole.flags.c_contiguous or array.dtype.hasobject:
        return False
    return _core.find_memory(_large.flat(whole)) is not None


# ---- pickle protocol 5 ----


def dump(
    value: object, dumps: Callable[..., bytes] = pickle.dumps
) -> tuple[bytes, list[memoryview]]:
    """The pickle of a value and its out-of-band buffers, which the value lends.

    `dumps`: another one with protocol 5, as cloudpickle's.
    """
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw() for buffer in buffers]


def before_fork(pools: list[Any]) -> None:
    """Memory that a forked child may look at is not used again."""
    for pool in pools:
        if pool._owner == os.getpid():
            pool._core.before_fork()
