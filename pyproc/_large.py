"""Large buffers: what goes into shared memory, and what it is again at the other end.

In a payload such a value is an extension: what it is, the number of the piece of memory, offset and
length, and an array's type and shape. The bytes themselves never pass a channel. Used at both
ends; `restore` takes all of it as hostile.
"""

from __future__ import annotations

import struct
import sys

from pyproc import _arrays
from pyproc._extension import LARGE, Unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Memories(Protocol):
        """Read-only views by number: a list, or such as are mapped when they are needed."""

        def __len__(self) -> int: ...
        def __getitem__(self, number: int, /) -> memoryview: ...


BYTES, BYTEARRAY, VIEW, ARRAY, FORTRAN_ARRAY, ARROW = range(6)
#: kind, number of the memory, offset, length, length of a digest that follows
_HEAD = struct.Struct(">BBQQB")
_BINARY = {bytes: BYTES, bytearray: BYTEARRAY}


class Large:
    """A value that is to go in memory: `kind` and `head` say what it is. `data`: its bytes in one
    piece, or an array that is not, which is copied element by element."""

    __slots__ = ("data", "head", "kind", "size")

    def __init__(self, kind: int, size: int, data: Any, head: bytes = b"") -> None:
        self.kind = kind
        self.size = size
        self.data = data
        self.head = head

    @property
    def is_whole(self) -> bool:
        """Whether `data` is bytes in one piece."""
        return self.kind < ARRAY or self.kind == ARROW or bool(self.data.flags.c_contiguous)

    def pack(self, number: int, offset: int, digest: bytes = b"") -> tuple[int, bytes]:
        """The extension."""
        head = _HEAD.pack(self.kind, number, offset, self.size, len(digest))
        return LARGE, head + digest + self.head


def look(value: Any, least: int) -> Large | None:
    """The value as a large one; None: it is small, or of another kind. Raises Unfit."""
    kind: Any = type(value)
    binary = _BINARY.get(kind)
    if binary is not None:
        return Large(binary, len(value), value) if len(value) >= least else None
    if kind is memoryview:
        if value.nbytes < least:
            return None
        return Large(VIEW, value.nbytes, value if value.c_contiguous else value.tobytes())
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, _class_of(numpy, "ndarray")):
        return _look_array(value) if value.nbytes >= least else None
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(value, _class_of(arrow, "Buffer")):
        return Large(ARROW, value.size, value) if value.size >= least else None
    return None


def _class_of(module: Any, name: str) -> Any:
    """Of a module that may be half imported just now."""
    return getattr(module, name, ())


def _look_array(array: Any) -> Large:
    head = _arrays.head(array)
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return Large(FORTRAN_ARRAY, array.nbytes, flat(array.T), head)
    data = flat(array) if array.flags.c_contiguous else array
    return Large(ARRAY, array.nbytes, data, head)


def flat(array: Any) -> Any:
    """The bytes of an array that lies in one piece; some types export no buffer themselves."""
    return array.reshape(-1).view("u1")


def restore(data: bytes, memories: Memories) -> Any:
    """The value of an extension's bytes, out of read-only views of memory.

    Arrays and views lie in the memory itself. ValueError and the like when it makes no sense.
    """
    kind, number, offset, length, known = _HEAD.unpack_from(data)
    if number >= len(memories):
        raise ValueError("a value lies in memory that is not there")
    memory = memories[number]
    if offset > len(memory) or length > len(memory) - offset:
        raise ValueError("a value lies outside of its memory")
    part = memory[offset : offset + length]
    rest = data[_HEAD.size + known :]
    if kind in (ARRAY, FORTRAN_ARRAY):
        return _restore_array(part, rest, "F" if kind == FORTRAN_ARRAY else "C")
    if rest:
        raise ValueError("bytes are left behind a value in memory")
    if kind == VIEW:
        return part
    if kind == BYTES:
        return bytes(part)
    if kind == BYTEARRAY:
        return bytearray(part)
    if kind == ARROW:
        import pyarrow  # type: ignore[import-untyped]

        return pyarrow.py_buffer(part)
    raise ValueError("a value in memory is of no kind")


def _restore_array(part: Any, head: bytes, order: str) -> Any:
    dtype, shape, end = _arrays.read_head(head)
    if end != len(head):
        raise ValueError("bytes are left behind an array's shape")
    array = _arrays.view(part, 0, dtype, shape, order)
    _arrays.check(array)
    return array


def refuse_objects(dtype: Any) -> None:
    """What holds pointers, or has no size, is no use in another process. Raises Unfit."""
    if dtype.hasobject or dtype.itemsize == 0:
        raise Unfit(f"dtype {dtype} has no bytes of a fixed size that another process could read")
