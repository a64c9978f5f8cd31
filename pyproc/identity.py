"""What makes a request the same as another one, as bytes. Any thread."""

from __future__ import annotations

from pyproc import errors
from pyproc.codec import encode_arguments
from pyproc.files import Described


def identity_of(encoded: tuple[bytes, int, tuple[str, ...]]) -> bytes:
    """What makes a request the same as another one: payload, codec and keywords in one."""
    payload, codec, keywords = encoded
    names = "\0".join(keywords).encode()
    return b"".join((payload, names, len(names).to_bytes(4, "big"), bytes((codec,))))


def split_identity(identity: bytes) -> tuple[bytes, int, tuple[str, ...]]:
    """What `identity_of` was given."""
    at = len(identity) - 5
    start = at - int.from_bytes(identity[at : at + 4], "big")
    names = identity[start:at].decode()
    return identity[:start], identity[-1], tuple(names.split("\0")) if names else ()


def identity(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
    """The same, of arguments; of such as cannot be sent nothing."""
    try:
        return identity_of(encode_arguments(args, kwargs, Described()))
    except (errors.Error, OSError):
        return b""
