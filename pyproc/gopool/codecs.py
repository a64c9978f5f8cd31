"""Requests and answers as bytes: the codecs that PYPROC_CODEC_TYPE may name.

Only valid JSON is sent: NaN and infinity are null with msgspec and orjson, an error with the
standard library. Values that JSON does not know are sent as what they hold: numpy's as numbers
and lists, bytes in base64 as Go reads them, sets as lists, dates in ISO 8601.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

NAMES = ("auto", "json", "orjson", "msgspec", "msgpack")


class Codec(NamedTuple):
    """decode: bytes to a value. encode: a value to bytes; each raises what its library raises."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def get(name: str) -> Codec:
    """The codec. ValueError: there is none of that name. ModuleNotFoundError: not installed."""
    if name not in NAMES:
        raise ValueError(f"PYPROC_CODEC_TYPE={name!r}: it must be one of {', '.join(NAMES)}")
    if name == "auto":
        return _auto()
    try:
        return _MAKERS[name]()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"PYPROC_CODEC_TYPE={name!r} needs a package: pip install {error.name}", name=error.name
        ) from None


def _auto() -> Codec:
    """msgspec, where it is there."""
    try:
        return _msgspec()
    except ModuleNotFoundError:
        return _json()


def _msgspec() -> Codec:
    import msgspec

    encoder = msgspec.json.Encoder(enc_hook=simplify)
    return Codec("msgspec", msgspec.json.Decoder().decode, encoder.encode)


def _orjson() -> Codec:
    import orjson

    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

    def encode(value: Any) -> bytes:
        return orjson.dumps(value, default=simplify, option=options)

    return Codec("orjson", orjson.loads, encode)


def _json() -> Codec:
    import json

    def encode(value: Any) -> bytes:
        text = json.dumps(value, default=simplify, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")

    return Codec("json", json.loads, encode)


def _msgpack() -> Codec:
    import msgpack  # type: ignore[import-untyped]

    def encode(value: Any) -> bytes:
        return bytes(msgpack.packb(value, default=simplify, datetime=False))

    def decode(data: bytes) -> Any:
        return msgpack.unpackb(data, strict_map_key=False)

    return Codec("msgpack", decode, encode)


_MAKERS: dict[str, Callable[[], Codec]] = {
    "msgspec": _msgspec,
    "orjson": _orjson,
    "json": _json,
    "msgpack": _msgpack,
}


def simplify(value: Any) -> Any:
    """What a value that a codec does not know holds. TypeError: nothing it could send."""
    import base64
    import dataclasses

    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return value.tolist()
    if isinstance(value, set | frozenset):
        return list(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    fields = getattr(type(value), "__struct_fields__", None)  # msgspec.Struct
    if fields is not None:
        return {name: getattr(value, name) for name in fields}
    raise TypeError(f"a {type(value).__name__} cannot be sent: return plain data")
