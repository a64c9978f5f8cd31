"""Functions that turn their worker against the host: what `breaking.py` has, and these."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
import threading
import time

import wire

sys.path.insert(0, os.path.dirname(__file__))
from breaking import CALL, CRASH, EVENT, _call_id, _mapped, _result, app, die


def _failure(node: dict[int, object], kind: int = 1) -> bytes:
    return wire.frame(wire.FAILURE, {1: wire.Fixed(_call_id()), 2: kind, 3: [node]})


_NODE: dict[int, object] = {3: "ValueError", 4: "words"}


def _garbage(kind: str) -> bytes:
    """Bytes that break one rule."""
    result = wire.frame
    makers = {
        "noise": lambda: b"\xde\xad\xbe\xef" * 64,
        "length above the limit": lambda: (16 * 2**20 + 1).to_bytes(4, "big") + b"\x22",
        "length of 4 GiB": lambda: b"\xff\xff\xff\xff" + bytes(64),
        "empty frame": lambda: bytes(4),
        "json": lambda: b"\0\0\0\x02{}",
        "python frame": lambda: b"PY\0\1" + bytes(16),
        "no envelope field": lambda: b"\0\0\0\x03\x98\x06\x01",
        "two envelope fields": lambda: (lambda one: (2 * len(one)).to_bytes(4, "big") + one + one)(
            result(wire.RESULT, _result())[4:]
        ),
        "field cut short": lambda: b"\0\0\0\x03\x22\x50\x01",
        "answer to a later call": lambda: result(wire.RESULT, _result(shift=1)),
        "answer to an older call": lambda: result(wire.RESULT, _result(shift=-1)),
        "answer to call zero": lambda: result(wire.RESULT, {2: b"\xc0", 3: 1}),
        "codec pickle": lambda: result(wire.RESULT, _result(b"\x80\x04N.", 3)),
        "codec unknown": lambda: result(wire.RESULT, _result(codec=77)),
        "codec missing": lambda: result(wire.RESULT, _result(codec=0)),
        "failure of unknown kind": lambda: _failure(_NODE, 99),
        "failure of no kind": lambda: _failure(_NODE, 0),
        "failure to start": lambda: _failure(_NODE, 6),
        "failure without nodes": lambda: result(wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1}),
        "failure with bad utf-8": lambda: _failure({3: b"\xff\xfe", 4: "x"}),
        "failure with its own parent": lambda: result(
            wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1, 3: [_NODE, {1: 1, 2: 7, 3: "E"}]}
        ),
        "failure of unknown relation": lambda: result(
            wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1, 3: [_NODE, {1: 9, 3: "E"}]}
        ),
        "unasked part": lambda: result(wire.PART, {1: wire.Fixed(_call_id()), 3: 1, 4: b"\xc0"}),
        "unasked return": lambda: result(wire.RETURNED, {1: wire.Fixed(_call_id())}),
        "unasked pong": lambda: result(wire.PONG, {1: 5}),
        "a host's call": lambda: result(
            wire.CALL, {1: wire.Fixed(_call_id()), 2: "add", 3: b"\x90", 4: 1}
        ),
        "a host's hello": lambda: result(wire.HELLO, {1: 1}),
        "goodbye": lambda: result(wire.GOODBYE, {}),
        "log on the call channel": lambda: result(wire.LOG, {1: 1, 5: "x"}),
        "second hello": lambda: result(wire.HELLO_REPLY, {1: 1}),
    }
    return makers[kind]()


def _send_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@app.expose
def send(kind: str) -> None:
    _send_all(CALL, _garbage(kind))
    time.sleep(60)


@app.expose
def send_if(item: tuple[int, str]) -> int:
    number, kind = item
    if number == 3:
        send(kind)
    return number


@app.expose
def send_event(data: bytes) -> None:
    _send_all(EVENT, data)
    time.sleep(60)


@app.expose
def answer_twice() -> str:
    _send_all(CALL, wire.frame(wire.RESULT, _result(b"\xa5first")) * 2)
    return "second"


@app.expose
def answer(payload: bytes, codec: int) -> None:
    """An answer of any bytes, and the end."""
    _send_all(CALL, wire.frame(wire.RESULT, _result(payload, codec)))
    os._exit(0)


@app.expose
def cut(length: int, then: str) -> int:
    """So much of an answer, and then the end; how long the whole answer is when that is enough."""
    data = wire.frame(wire.RESULT, _result(b"\xa4done"))
    if length < len(data):
        _send_all(CALL, data[:length])
        if then == "close":
            os.close(CALL)
            time.sleep(60)
        die("_exit")
    return len(data)


@app.expose
def cut_event(length: int) -> int:
    """The same on the event channel."""
    data = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "cut", 5: "words"})
    if length < len(data):
        _send_all(EVENT, data[:length])
        die("_exit")
    return len(data)


@app.expose
def same(data: bytes) -> bytes:
    return data


@app.expose
def send_descriptors(times: int) -> str:
    """Sends descriptors that nobody asked for, some with each byte of an answer.

    Fewer in all than RLIMIT_NOFILE: it also bounds those under way (unix(7), ETOOMANYREFS).
    """
    data = wire.frame(wire.RESULT, _result(b"\xa4done"))
    with socket.socket(fileno=os.dup(CALL)) as channel, open("/dev/null") as file:
        for byte in data[:times]:
            socket.send_fds(channel, [bytes([byte])], [file.fileno()] * 50)
        channel.sendall(data[times:])
    time.sleep(60)
    return ""


@app.expose
def flood(kind: str) -> None:
    """Writes for ever."""
    if kind == "parts":
        head = {3: 1, 4: b"\xc4\xff" + bytes(255)}
        while True:
            _send_all(CALL, wire.frame(wire.PART, {1: wire.Fixed(_call_id()), **head}))
    fd, data = {
        "zeros": (CALL, bytes(65536)),
        "one long frame": (CALL, (8 * 2**20).to_bytes(4, "big") + b"\x22" * (8 * 2**20)),
        "events": (EVENT, bytes(65536)),
        "stdout": (1, b"x" * 65536),
        "lines": (1, b"x\n" * 32768),
        "stderr": (2, b"\xff" * 65536),
    }[kind]
    while True:
        _send_all(fd, data)


@app.expose
def log_flood(times: int) -> int:
    """Records by the raw event channel, as fast as it goes."""
    record = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "flood", 5: "y" * 60000})
    for _ in range(times):
        _send_all(EVENT, record)
    return times


@app.expose
def write_control(how: str) -> str:
    """Tries to get at the page that only the host may write."""
    at, size = _mapped("control")
    libc = ctypes.CDLL(None, use_errno=True)
    if how == "mprotect":
        refused = libc.mprotect(ctypes.c_void_p(at), size, mmap.PROT_READ | mmap.PROT_WRITE) != 0
        return os.strerror(ctypes.get_errno()) if refused else "writable"
    try:
        file = os.open(f"/proc/self/map_files/{at:x}-{at + size:x}", os.O_RDWR)
        try:
            mmap.mmap(file, size).close()
            return "writable"
        finally:
            os.close(file)
    except OSError as error:
        return os.strerror(error.errno or 0)


@app.expose
def shrink(name: str) -> str:
    """Tries to make a shared page smaller, so that the host's next look at it would fault."""
    at, size = _mapped(name)
    try:
        file = os.open(f"/proc/self/map_files/{at:x}-{at + size:x}", os.O_RDWR)
        try:
            os.ftruncate(file, 0)
            return "smaller"
        finally:
            os.close(file)
    except OSError as error:
        return os.strerror(error.errno or 0)


def _scribble() -> None:
    at, size = _mapped("status")
    ctypes.memset(at, 0xFF, size)


@app.expose
def scribble(then: str) -> None:
    _scribble()
    die(then)


@app.expose
def scribble_item(item: int) -> int:
    if item == 3:
        _scribble()
        os._exit(9)
    return item


@app.expose
def claim_items(item: int) -> int:
    """In a chunk: says that a million items are answered, and dies."""
    if item == 3:
        at, _ = _mapped("status")
        ctypes.memmove(at + 20, struct.pack("<IQ", 1_000_000, 2**40), 12)
        os._exit(9)
    return item


@app.expose
def write_crash_file(data: bytes) -> None:
    os.pwrite(CRASH, data, 0)
    os._exit(3)


@app.expose
def talk_later(seconds: float) -> str:
    """Answers, and sends garbage when nobody asks any more."""

    def later() -> None:
        time.sleep(seconds)
        _send_all(CALL, _garbage("noise"))

    threading.Thread(target=later, daemon=True).start()
    return "answered"
