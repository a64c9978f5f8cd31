"""The two kinds of frames of the Go project, told apart by their first two bytes.

Legacy: a 4-byte big-endian length, then that many bytes. Enhanced: "PY", a 4-byte length that
includes the header's 18 bytes, an 8-byte request number, a CRC-32C of the payload, the payload.
"PY" as a length would be 1.3 GiB, far above the limit, so neither can be mistaken for the other.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyproc import _worker

#: Bytes of a payload, either way: what the Go side takes.
PAYLOAD_MAX = 10 * 1024 * 1024
_MAGIC = b"PY"
_HEAD = struct.Struct(">2sIQI")
_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """The peer does not speak this protocol; the connection cannot go on."""


class Frame(NamedTuple):
    """One payload; `number` is its request's in an enhanced frame, None in a legacy one."""

    payload: bytes
    number: int | None


class Reader:
    """Bytes in, frames out. One thread at a time."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        """Takes what was received."""
        self._bytes += data

    def next(self) -> Frame | None:
        """The next whole frame, or None. Raises FrameError."""
        have = self._bytes
        if len(have) < _LENGTH.size:
            return None
        if have.startswith(_MAGIC):
            return self._enhanced()
        (size,) = _LENGTH.unpack_from(have)
        if size > PAYLOAD_MAX:
            raise FrameError(f"a request of {size} bytes; at most {PAYLOAD_MAX} are taken")
        end = _LENGTH.size + size
        if len(have) < end:
            return None
        payload = bytes(have[_LENGTH.size : end])
        del have[:end]
        return Frame(payload, None)

    def _enhanced(self) -> Frame | None:
        have = self._bytes
        if len(have) < _HEAD.size:
            return None
        _, end, number, checksum = _HEAD.unpack_from(have)
        if not _HEAD.size <= end <= _HEAD.size + PAYLOAD_MAX:
            raise FrameError(
                f"a frame of {end} bytes; at most {PAYLOAD_MAX} and a header are taken"
            )
        if len(have) < end:
            return None
        payload = bytes(have[_HEAD.size : end])
        if _worker.crc32c(payload) != checksum:
            raise FrameError("a frame's checksum is wrong")
        del have[:end]
        return Frame(payload, number)


def pack(payload: bytes, number: int | None) -> bytes:
    """A frame of the kind that the request had. ValueError: the payload is too large."""
    if len(payload) > PAYLOAD_MAX:
        raise ValueError(
            f"the answer takes {len(payload)} bytes; the Go side takes {PAYLOAD_MAX} at most"
        )
    if number is None:
        return _LENGTH.pack(len(payload)) + payload
    size = _HEAD.size + len(payload)
    return _HEAD.pack(_MAGIC, size, number, _worker.crc32c(payload)) + payload
