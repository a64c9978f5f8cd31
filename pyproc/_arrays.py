"""numpy's arrays as bytes: no type that could hold a pointer goes either way.

Used at both ends; numpy is imported only where there is a value of its own. Bytes may be hostile.
"""

from __future__ import annotations

import sys

from pyproc._extension import ARRAY, NUMPY_SCALAR, TEXT_MAX, Unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: numpy's own limit.
DIMENSIONS_MAX = 32

_NUMPY_SIZES = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "c": (8, 16),
    "m": (8,),
    "M": (8,),
}


def pack(value: Any) -> tuple[int, bytes] | None:
    """The extension of a value of numpy's; None for others. Raises Unfit."""
    numpy = sys.modules["numpy"]
    generic = getattr(numpy, "generic", ())  # numpy may be half imported just now
    if generic and isinstance(value, generic):
        return NUMPY_SCALAR, _head(value.dtype, ()) + value.tobytes()
    if generic and isinstance(value, numpy.ndarray):
        return ARRAY, head(value) + value.tobytes()
    return None


def head(array: Any) -> bytes:
    """Type and shape of an array that may travel. Raises Unfit for others."""
    numpy = sys.modules["numpy"]
    if type(array) not in (numpy.ndarray, numpy.memmap):
        name = f"{type(array).__module__}.{type(array).__qualname__}"
        raise Unfit(f"a {name} would lose what it adds to a numpy array; use numpy.asarray()")
    return _head(array.dtype, array.shape)


#: Types and shapes met before, both ways; few, and the same again and again.
_heads: dict[Any, bytes] = {}
_known: dict[bytes, tuple[Any, tuple[int, ...], int]] = {}
_KNOWN_MAX = 256


def _head(dtype: Any, shape: tuple[int, ...]) -> bytes:
    known = _heads.get((dtype, shape))
    if known is None:
        known = _make_head(dtype, shape)
        if len(_heads) < _KNOWN_MAX and dtype.metadata is None:
            _heads[dtype, shape] = known
    return known


def _make_head(dtype: Any, shape: tuple[int, ...]) -> bytes:
    name: str = dtype.str
    if not _is_array_type(name, dtype.itemsize):
        raise Unfit(
            f"a numpy value of dtype {dtype} cannot be carried; "
            f"numbers, bool, datetime64, timedelta64 and fixed-size text can"
        )
    sizes = b"".join(size.to_bytes(8, "big") for size in shape)
    return bytes([len(name)]) + name.encode("ascii") + bytes([len(shape)]) + sizes


def _is_array_type(name: str, itemsize: int) -> bool:
    """Whether a dtype's text is on the list: no objects, no pointers, no structure."""
    if len(name) < 3 or len(name) > TEXT_MAX or name[0] not in "<>|" or not name.isascii():
        return False
    number, bracket, unit = name[2:].partition("[")
    if not number.isdecimal() or len(number) > 9 or itemsize <= 0:
        return False
    if bracket and (name[1] not in "mM" or not unit.endswith("]") or not unit[:-1].isalnum()):
        return False
    if name[1] in "SU":
        return itemsize == int(number) * (4 if name[1] == "U" else 1)
    return int(number) in _NUMPY_SIZES.get(name[1], ()) and itemsize == int(number)


def read_head(data: bytes) -> tuple[Any, tuple[int, ...], int]:
    """dtype and shape out of hostile bytes, and where they end. ValueError and the like."""
    length = 1 + data[0]
    head_bytes = data[: length + 1 + 8 * data[length]]
    known = _known.get(head_bytes)
    if known is None:
        known = _parse_head(data)
        if len(_known) < _KNOWN_MAX:
            _known[head_bytes] = known
    return known


def _parse_head(data: bytes) -> tuple[Any, tuple[int, ...], int]:
    import numpy

    name_end = 1 + data[0]
    name = data[1:name_end].decode("ascii")
    shape_end = name_end + 1 + 8 * data[name_end]
    sizes = data[name_end + 1 : shape_end]
    if data[name_end] > DIMENSIONS_MAX or len(sizes) != 8 * data[name_end]:
        raise ValueError("an array's shape is cut short")
    shape = tuple(int.from_bytes(sizes[at : at + 8], "big") for at in range(0, len(sizes), 8))
    if not _is_array_type(name, numpy.dtype(name).itemsize if _may_ask(name) else 0):
        raise ValueError("an array's dtype is not one that may come")
    return numpy.dtype(name), shape, shape_end


def view(data: Any, start: int, dtype: Any, shape: tuple[int, ...], order: Any = "C") -> Any:
    """The array in these bytes, from `start` to their end. ValueError when they do not fit."""
    import numpy

    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(data) - start or max(shape, default=0) >= 2**62:
        raise ValueError("an array's shape and size do not agree")
    array = numpy.frombuffer(data, dtype, count, start) if count else numpy.empty(0, dtype)
    return array.reshape(shape, order=order)


def restore(data: bytes) -> Any:
    """The array of an extension's hostile bytes, with memory of its own."""
    dtype, shape, start = read_head(data)
    array = view(data, start, dtype, shape).copy()
    check(array)
    return array


def _may_ask(name: str) -> bool:
    """Whether numpy may see this text at all: letters and digits of the list's kinds."""
    return name[1:2] in tuple("biufcmMSU") and name[2:].split("[", maxsplit=1)[0].isdecimal()


def check(array: Any) -> None:
    """Refuses bytes that no program of numpy's makes, and that its own code does not expect."""
    import numpy

    if array.dtype.kind == "b" and bool((array.view(numpy.uint8) > 1).any()):
        raise ValueError("a truth value is neither 0 nor 1")
    if array.dtype.kind == "U" and array.size:
        points = numpy.frombuffer(array.tobytes(), array.dtype.byteorder + "u4")
        if bool((points > 0x10FFFF).any()):
            raise ValueError("a character is out of range")
