"""Workers that break the rules of streams: what the host was told of credit, numbers and ends."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import wire
from breaking import CALL, EVENT, _call_id, app
from hostile import _send_all

ITEM, CREDIT, END, PROGRESS, CANCEL = 12, 13, 14, 15, 19


def _item(first: int, count: int = 1, payload: bytes = b"\xc0", shift: int = 0) -> bytes:
    fields = {1: wire.Fixed(_call_id() + shift), 2: payload, 3: 1, 4: first, 5: count}
    return wire.frame(ITEM, fields)


def _end(items: int, shift: int = 0) -> bytes:
    return wire.frame(END, {1: wire.Fixed(_call_id() + shift), 2: items})


def _frames(kind: str) -> bytes:
    makers = {
        "more items than credit": lambda: _item(0, 200_000, b"\xc0" * 200_000),
        "more frames than credit": lambda: b"".join(
            _item(at * 1000, 1000, b"\xc0" * 1000) for at in range(100)
        ),
        "more bytes than credit": lambda: b"".join(
            _item(at, 1, b"\xc6" + struct.pack(">I", 900_000) + bytes(900_000)) for at in range(4)
        ),
        "a gap between items": lambda: _item(0) + _item(5),
        "an item again": lambda: _item(0) + _item(0),
        "an item of another call": lambda: _item(0, shift=1),
        "an end of another call": lambda: _end(0, shift=1),
        "an end with too many items": lambda: _item(0) + _end(7),
        "an end with too few items": lambda: _item(0, 2, b"\xc0\xc0") + _end(1),
        "items after the end": lambda: _item(0) + _end(1) + _item(1),
        "two ends": lambda: _end(0) + _end(0),
        "a value": lambda: wire.frame(wire.RESULT, {1: wire.Fixed(_call_id()), 2: b"\xc0", 3: 1}),
        "a part of a chunk": lambda: wire.frame(
            wire.PART, {1: wire.Fixed(_call_id()), 3: 1, 4: b"\xc0"}
        ),
        "credit from a worker": lambda: wire.frame(
            CREDIT, {1: wire.Fixed(_call_id()), 2: 10, 3: 10}
        ),
        "a cancel from a worker": lambda: wire.frame(CANCEL, {1: wire.Fixed(_call_id())}),
        "progress on the call channel": lambda: wire.frame(PROGRESS, {2: wire.Fixed(_call_id())}),
        "a frame without items": lambda: _item(0, 0),
        "pickled items": lambda: wire.frame(
            ITEM, {1: wire.Fixed(_call_id()), 2: b"\x80\x04N.", 3: 3, 5: 1}
        ),
    }
    return makers[kind]()


@app.expose
def misbehave(kind: str) -> Iterator[int]:
    _send_all(CALL, _frames(kind))
    time.sleep(60)
    yield 1


def _progress(call: int, number: float = 1.0, message: str = "") -> bytes:
    body = bytes([0x11]) + struct.pack("<Q", call) + bytes([0x19]) + struct.pack("<d", number)
    if message:
        body += bytes([0x32]) + wire.varint(len(message)) + message.encode()
    inside = bytes([0x7A]) + wire.varint(len(body)) + body
    return len(inside).to_bytes(4, "big") + inside


@app.expose
def progress_of(kind: str) -> None:
    makers = {
        "a call to come": lambda: _progress(_call_id() + 1),
        "no call": lambda: _progress(0),
        "NaN": lambda: _progress(_call_id(), float("nan")),
        "a negative number": lambda: _progress(_call_id(), -1.0),
        "a long message": lambda: _progress(_call_id(), 1.0, "x" * 5000),
    }
    _send_all(EVENT, makers[kind]())
    time.sleep(60)


@app.expose
def flood_of_progress(seconds: float) -> str:
    """As fast as the host takes it, of this call and of one that has ended."""
    until = time.monotonic() + seconds
    words = "w" * 4000
    frames = (_progress(_call_id(), 1.0, words) + _progress(_call_id() - 1, 2.0, words)) * 16
    while time.monotonic() < until:
        _send_all(EVENT, frames)
    return "done"


@app.expose
def stream_in_a_call() -> int:
    _send_all(CALL, _item(0))
    time.sleep(60)
    return 1


@app.expose
def end_of_a_call() -> int:
    _send_all(CALL, _end(0))
    time.sleep(60)
    return 1


@app.expose
def nonsense() -> Iterator[int]:
    """An item whose bytes are no value."""
    _send_all(CALL, _item(0, 2, b"\xdd\xff\xff\xff\xff\xc1"))
    time.sleep(60)
    yield 1
