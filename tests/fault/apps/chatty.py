"""Prints and answers much or little."""

from __future__ import annotations

import os
import time

import pyproc

app = pyproc.App()


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def say(size: int, stream: int = 1) -> int:
    """Prints so many bytes, at once, and is done."""
    left = size
    while left > 0:
        left -= os.write(stream, b"x" * min(left, 4096))
    return size


@app.expose
def say_and_raise(size: int) -> None:
    say(size)
    raise KeyError("after it")


@app.expose
def flood() -> None:
    while True:
        os.write(1, b"flood\n" * 1000)


@app.expose
def whisper(seconds: float) -> None:
    """Goes on printing a little."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(2, b"y" * 1024)
        time.sleep(0.005)


@app.expose
def answer(size: int) -> bytes:
    return b"z" * size
