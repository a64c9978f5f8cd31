"""Calls that answer, and calls that end or hang their worker."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time

from pyproc import App

app = App()


@app.expose
def echo(n: int) -> int:
    return n


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def work(n: int, seconds: float) -> int:
    time.sleep(seconds)
    return n


@app.expose
def maybe(n: int, crash: bool) -> int:
    if crash:
        ctypes.string_at(0)
    return n


@app.expose
def note(item: tuple[str, int, bool]) -> int:
    """Writes its number to a file, so that runs can be counted, before it crashes or answers."""
    path, n, crash = item
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, n.to_bytes(4, "big"))
    os.close(file)
    if crash:
        ctypes.string_at(0)
    return n


@app.expose
def hang(how: str) -> None:
    if how == "regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    elif how == "loop in C, GIL held":
        ctypes.PyDLL(None).pause()
    elif how == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(60)


@app.expose
def crash(_n: int) -> None:
    ctypes.string_at(0)
