"""A client of the named socket by hand: frames as bytes, so that it can say what it likes."""

from __future__ import annotations

import socket
import struct
from pathlib import Path


def varint(value: int) -> bytes:
    """A number in protobuf's form."""
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    """A field: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(kind: int, inside: bytes) -> bytes:
    """One message in its envelope and frame."""
    body = field(kind, inside)
    return struct.pack(">I", len(body)) + body


CLIENT_HELLO, SERVER_HELLO, AUTHENTICATE, WELCOME, DENIED, CALL_END = 20, 21, 22, 23, 24, 25
CALL, RESULT, FAILURE = 3, 4, 5
STREAM_ITEM, STREAM_CREDIT, STREAM_END = 12, 13, 14


def hello(key: bytes = b"", version: int = 1, nonce: bytes = b"n" * 32) -> bytes:
    """The first message."""
    inside = field(1, version) + field(2, 1 << 24) + field(3, nonce)
    return frame(CLIENT_HELLO, inside + (field(4, key) if key else b""))


def call(number: int, function: bytes, payload: bytes = b"\x90", codec: int = 1) -> bytes:
    """A call as a client sends it."""
    inside = b"\x09" + struct.pack("<Q", number) + field(2, function) + field(3, payload)
    return frame(CALL, inside + field(4, codec))


class Raw:
    """A connection that is read frame by frame; each read waits 20 s at most."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes] | None:
        """The next message's kind and body; None at the end."""
        head = self._exactly(4)
        if head is None:
            return None
        body = self._exactly(struct.unpack(">I", head)[0])
        assert body is not None
        tag, at = _varint(body, 0)
        _, at = _varint(body, at)
        return tag >> 3, body[at:]

    def _exactly(self, count: int) -> bytes | None:
        got = b""
        while len(got) < count:
            try:
                part = self.socket.recv(count - len(got))
            except ConnectionResetError:
                return None
            if not part:
                return None
            got += part
        return got

    def greet(self) -> None:
        """The handshake of a server that asks for no key."""
        self.send(hello())
        assert [self.kind(), self.kind()] == [SERVER_HELLO, WELCOME]

    def kind(self) -> int:
        """The next message's kind; 0 at the end."""
        found = self.receive()
        return 0 if found is None else found[0]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
