"""The extension types: what plain MessagePack would lose.

`pack_hook` says how a value that is not plain goes, `restore` makes it again. Containers that
nest (tuple, set, frozenset) are packed by the C packer itself. Bytes may be hostile: every size
is bounded, and numpy gets no type that could hold a pointer.
"""

from __future__ import annotations

import sys

from pyproc.errors import ItemFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TUPLE, SET, FROZENSET, FAILURE = 1, 2, 3, 4
BIG_INT, DECIMAL, UUID, DATE, TIME, DATETIME, TIMEDELTA, COMPLEX = range(16, 24)
SURROGATES, BYTEARRAY, ARRAY, NUMPY_SCALAR = range(24, 28)
#: A descriptor that came with the call: its number among them, the mode, what identifies it. Only a
#: worker restores it (pyproc/worker/attached.py).
FILE = 28
#: Bytes in memory that is shared (pyproc/_large.py); small ones of kinds that may be there.
LARGE, MEMORYVIEW, ARROW = 29, 30, 31

#: Bytes of one big int, characters of one Decimal, of one date.
BIG_INT_MAX = 1024 * 1024
DECIMAL_MAX = 64 * 1024
TEXT_MAX = 128

FILES_GO = (
    "an open file goes as an argument of call, submit and acall, not as an item of a map, in a "
    "context variable or as a result"
)


class Unfit(Exception):
    """This value cannot be carried; the text says why."""


# ---- packing ----


def pack_hook(value: Any) -> tuple[int | None, Any]:
    """(code, bytes), or (None, a value that goes in its place). Raises Unfit."""
    kind = type(value)
    packer = _PACKERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if packer is not None and _is_genuine(kind):
        return packer(value)
    if "numpy" in sys.modules:
        from pyproc import _arrays

        packed = _arrays.pack(value)
        if packed is not None:
            return packed
    if kind.__module__ in ("_io", "pyproc.files"):
        raise Unfit(FILES_GO)
    return None, _replace(value, kind)


def exact_hook(value: Any) -> tuple[int | None, Any]:
    """`pack_hook` for results of an Executor, which come back as they are or not at all."""
    kind = type(value)
    try:
        code, data = pack_hook(value)
    except Unfit as unfit:
        raise Unfit(f"{unfit}; or open the executor with results='pickle'") from None
    if code is None and kind is not memoryview:
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise Unfit(
            f"a {name} would come back as a {type(data).__name__}: annotate what the function "
            f"returns (-> {kind.__qualname__}), return plain data, or open the executor with "
            f"results='pickle'"
        )
    return code, data


def _is_genuine(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return getattr(module, kind.__qualname__, None) is kind


def _pack_int(value: int) -> tuple[int, bytes]:
    size = value.bit_length() // 8 + 1
    if size > BIG_INT_MAX:
        raise Unfit(f"an int of {size} bytes is too big, at most {BIG_INT_MAX} bytes can go")
    return BIG_INT, value.to_bytes(size, "big", signed=True)


def _pack_decimal(value: Any) -> tuple[int, bytes]:
    text = str(value)
    if len(text) > DECIMAL_MAX:
        raise Unfit(f"a Decimal of {len(text)} characters is too long")
    return DECIMAL, text.encode("ascii")


def _pack_time(value: Any) -> bytes:
    """ISO text, fold, and the key of its time zone where it has one."""
    zone = value.tzinfo
    key = ""
    if zone is not None:
        kind = type(zone)
        if kind.__module__ == "zoneinfo" and kind.__qualname__ == "ZoneInfo":
            key = zone.key or ""
            if key and not _is_zone_key(key):
                raise Unfit(f"the time zone {key!r} has a name that cannot go")
    naive = value.replace(tzinfo=None, fold=0)
    offset = "" if key else value.replace(fold=0).isoformat()[len(naive.isoformat()) :]
    return f"{naive.isoformat()}{offset}|{value.fold}|{key}".encode()


def _pack_timedelta(value: Any) -> tuple[int, bytes]:
    return TIMEDELTA, f"{value.days},{value.seconds},{value.microseconds}".encode()


def _pack_complex(value: complex) -> tuple[int, bytes]:
    import struct

    return COMPLEX, struct.pack(">dd", value.real, value.imag)


_PACKERS: dict[str, Callable[[Any], tuple[int | None, Any]]] = {
    "builtins.int": _pack_int,
    "builtins.str": lambda value: (SURROGATES, value.encode("utf-8", "surrogatepass")),
    "builtins.bytearray": lambda value: (BYTEARRAY, bytes(value)),
    "builtins.memoryview": lambda value: (MEMORYVIEW, value.tobytes()),
    "pyarrow.lib.Buffer": lambda value: (ARROW, value.to_pybytes()),
    "builtins.complex": _pack_complex,
    "decimal.Decimal": _pack_decimal,
    "uuid.UUID": lambda value: (UUID, value.bytes),
    "datetime.date": lambda value: (DATE, value.isoformat().encode()),
    "datetime.time": lambda value: (TIME, _pack_time(value)),
    "datetime.datetime": lambda value: (DATETIME, _pack_time(value)),
    "datetime.timedelta": _pack_timedelta,
}


def _replace(value: Any, kind: type) -> Any:
    """The simpler value that stands for this one, as msgspec would have it."""
    if "enum" in sys.modules and isinstance(value, sys.modules["enum"].Enum):
        return value.value
    if hasattr(kind, "__struct_config__"):
        return _of_struct(value, kind)
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses

        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    for base, plain in _BASES:
        if isinstance(value, base):
            return plain(value)
    raise Unfit(_advice(kind))


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, lambda value: "".join((value,)) if type(value) is str else str.__str__(value)),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple(value)),
    (list, lambda value: list(value)),
    (dict, lambda value: dict(value)),
    (frozenset, lambda value: frozenset(value)),
    (set, lambda value: set(value)),
)


def _of_struct(value: Any, kind: Any) -> Any:
    config = kind.__struct_config__
    unset = sys.modules["msgspec"].UNSET
    pairs = [
        (encoded, getattr(value, name))
        for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    ]
    if config.array_like:
        head = [] if config.tag is None else [config.tag]
        return head + [item for _, item in pairs]
    tagged = {} if config.tag is None else {config.tag_field: config.tag}
    return tagged | {name: item for name, item in pairs if item is not unset}


def _advice(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if name in ("generator", "async_generator", "map", "filter", "zip", "enumerate"):
        return f"a {name} cannot be carried; make it a list"
    if name in ("function", "builtin_function_or_method", "method", "type"):
        return f"a {name} cannot be carried; only data can"
    return (
        f"a value of type {name} cannot be carried; use plain data, a dataclass, "
        f"a msgspec.Struct or a numpy array"
    )


# ---- restoring ----


def _is_zone_key(key: str) -> bool:
    return (
        len(key) <= 64
        and key.isascii()
        and key.replace("/", "a").replace("_", "a").replace("-", "a").replace("+", "a").isalnum()
        and not key.startswith("/")
    )


def _restore_time(data: bytes, cls: Any) -> Any:
    if len(data) > TEXT_MAX:
        raise ValueError("a time is too long")
    text, fold, key = data.decode("ascii").split("|")
    value = cls.fromisoformat(text)
    if key:
        if not _is_zone_key(key):
            raise ValueError("a time zone's name makes no sense")
        import zoneinfo

        value = value.replace(tzinfo=zoneinfo.ZoneInfo(key))
    return value.replace(fold=1) if fold == "1" else value


def _restore_timedelta(data: bytes) -> Any:
    import datetime

    if len(data) > TEXT_MAX:
        raise ValueError("a timedelta is too long")
    days, seconds, microseconds = data.decode("ascii").split(",")
    return datetime.timedelta(int(days), int(seconds), int(microseconds))


def _restore_complex(data: bytes) -> complex:
    import struct

    return complex(*struct.unpack(">dd", data))


def _restore_big_int(data: bytes) -> int:
    if len(data) > BIG_INT_MAX:
        raise ValueError("an int is too big")
    return int.from_bytes(data, "big", signed=True)


def _restore_decimal(data: bytes) -> Any:
    import decimal

    if len(data) > DECIMAL_MAX:
        raise ValueError("a Decimal is too long")
    return decimal.Decimal(data.decode("ascii"))


def _restore_uuid(data: bytes) -> Any:
    import uuid

    return uuid.UUID(bytes=data)


def _restore_date(data: bytes) -> Any:
    import datetime

    if len(data) > TEXT_MAX:
        raise ValueError("a date is too long")
    return datetime.date.fromisoformat(data.decode("ascii"))


def _restore_whole_time(data: bytes) -> Any:
    import datetime

    return _restore_time(data, datetime.time)


def _restore_datetime(data: bytes) -> Any:
    import datetime

    return _restore_time(data, datetime.datetime)


def _restore_array(data: bytes) -> Any:
    from pyproc import _arrays

    return _arrays.restore(data)


def _restore_arrow(data: bytes) -> Any:
    import pyarrow  # type: ignore[import-untyped]

    return pyarrow.py_buffer(data)


def _restore_scalar(data: bytes) -> Any:
    array = _restore_array(data)
    if array.shape != ():
        raise ValueError("a numpy scalar has a shape")
    return array[()]


_RESTORERS: dict[int, Callable[[bytes], Any]] = {
    BIG_INT: _restore_big_int,
    DECIMAL: _restore_decimal,
    UUID: _restore_uuid,
    DATE: _restore_date,
    TIME: _restore_whole_time,
    DATETIME: _restore_datetime,
    TIMEDELTA: _restore_timedelta,
    COMPLEX: _restore_complex,
    SURROGATES: lambda data: data.decode("utf-8", "surrogatepass"),
    BYTEARRAY: bytearray,
    ARRAY: _restore_array,
    NUMPY_SCALAR: _restore_scalar,
    MEMORYVIEW: memoryview,
    ARROW: _restore_arrow,
}


def restore(code: int, data: bytes) -> Any:
    """The value of an extension's bytes. ValueError and the like when they make no sense."""
    restorer = _RESTORERS.get(code)
    if restorer is None:
        raise ValueError(f"the extension type {code} is not known")
    return restorer(data)


def restore_hostile(code: int, data: memoryview, decode: Callable[[memoryview], Any]) -> Any:
    """The same out of a decoder that does not know our containers."""
    if code == TUPLE:
        return tuple(decode(data))
    if code == SET:
        return set(decode(data))
    if code == FROZENSET:
        return frozenset(decode(data))
    if code == FAILURE:  # the scan lets it stand where it may only
        return ItemFailure(bytes(data))
    return restore(code, bytes(data))
