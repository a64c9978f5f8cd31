"""Functions that attack the host's memory, descriptors and time, beside those of tests/fault."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
import time
from pathlib import Path

import wire

import pyproc

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fault" / "apps"))
from breaking import CALL, EVENT, _call_id, _result, app


def _send_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@app.expose
def call_id() -> int:
    return _call_id()


def _memory_file(kind: str) -> int:
    fd = os.memfd_create("result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if kind == "sparse":
        os.ftruncate(fd, 2**44)
    elif kind == "oversized":
        os.posix_fallocate(fd, 0, 64 * 2**20)
    else:
        os.write(fd, b"result")
        seals = fcntl.F_SEAL_SHRINK if kind == "half sealed" else 0
        if seals:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@app.expose
def send_memory_file(kind: str) -> None:
    """An answer with a memory file that nobody asked for."""
    fd = _memory_file(kind)
    answer = wire.frame(wire.RESULT, _result(b"\xa4done"))
    with socket.socket(fileno=os.dup(CALL)) as channel:
        socket.send_fds(channel, [answer], [fd])
    time.sleep(60)


@app.expose
def flood_descriptors(name: str) -> None:
    """As many as the kernel lets be under way, for ever."""
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
    with socket.socket(fileno=os.dup(CALL if name == "call" else EVENT)) as channel:
        while True:
            try:
                socket.send_fds(channel, [b"\0"], files)
            except OSError as error:
                if error.errno not in (109, 11):  # ETOOMANYREFS: the host has not looked yet
                    time.sleep(60)
                time.sleep(0.001)


@app.expose
def answer_for(call: int, value: bytes) -> None:
    """An answer to somebody else's call."""
    _send_all(CALL, wire.frame(wire.RESULT, {1: wire.Fixed(call), 2: value, 3: 1}))
    time.sleep(60)


_kept: list[bytes] = []


@app.expose
def remember() -> int:
    """Keeps the answer to this call, to send it again later."""
    _kept.append(wire.frame(wire.RESULT, _result(b"\x2a")))
    return 1


@app.expose
def replay() -> None:
    _send_all(CALL, _kept[-1])
    time.sleep(60)


@app.expose
def leave_an_answerer(seconds: float) -> None:
    """A child answers after its parent, the worker, is gone."""
    answer = wire.frame(wire.RESULT, _result(b"\xa4late"))
    if os.fork() == 0:
        os.setsid()
        time.sleep(seconds)
        _send_all(CALL, answer)
        os._exit(0)
    os._exit(7)


@app.expose
def drip(kind: str, pause: float) -> None:
    """A byte at a time, an answer that is announced to be large."""
    payload = bytes(1024)
    body = wire.frame(wire.RESULT, _result(b"\xc5" + len(payload).to_bytes(2, "big") + payload))
    if kind == "garbage":
        body = b"\x00\x01\x00\x00" + bytes(65536)
    for byte in body:
        _send_all(CALL, bytes([byte]))
        time.sleep(pause)
    time.sleep(60)


@app.expose
def drip_records(pause: float, seconds: float) -> int:
    """Log records a byte at a time, while the call goes on."""
    record = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "drip", 5: "y" * 2000})
    until = time.monotonic() + seconds
    for byte in record:
        if time.monotonic() > until:
            break
        _send_all(EVENT, bytes([byte]))
        time.sleep(pause)
    return 1


@app.expose
def flood(kind: str) -> None:
    """For ever, by every way out that a worker has."""
    record = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "flood", 5: "y" * 60000})
    small = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "flood", 5: "y"}) * 100
    if kind == "everything":
        for name in ("small records", "lines"):
            threading.Thread(target=flood, args=(name,), daemon=True).start()
    fd, data = {
        "records": (EVENT, record),
        "small records": (EVENT, small),
        "lines": (1, b"x\n" * 32768),
        "one line": (2, b"x" * 65536),
        "everything": (2, b"\xff\n" * 1000),
    }[kind]
    while True:
        _send_all(fd, data)


@app.expose
def spin(seconds: float) -> None:
    """What keeps a processor as busy as a flood does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


__all__ = ["app", "pyproc"]


@app.expose
def event(kind: str) -> None:
    """A word about the sandbox (Event) that no worker of ours would say."""
    fields: dict[int, object] = {1: 1, 2: wire.Fixed(_call_id()), 3: 1, 4: "open"}
    times = 1
    if kind == "flood":
        times = 10000
    elif kind == "of another call":
        fields[2] = wire.Fixed(_call_id() + 1)
    elif kind == "too long":
        fields[4] = "x" * 513
    elif kind == "of no kind":
        fields[3] = 2
    elif kind == "no utf-8":
        fields[4] = b"\xff\xfe"
    word = wire.frame(18, fields)
    for _ in range(times):
        _send_all(CALL if kind == "on the call channel" else EVENT, word)
    time.sleep(60)
