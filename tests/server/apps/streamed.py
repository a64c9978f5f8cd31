"""Generators behind a named socket."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from pyproc import App

app = App()


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.expose
def blocks(n: int, size: int) -> Iterator[bytes]:
    for _ in range(n):
        yield b"x" * size


@app.expose
def marks(path: str, n: int) -> Iterator[int]:
    """Tells how many items it has made."""
    for i in range(n):
        Path(path + ".new").write_text(str(i + 1))
        os.replace(path + ".new", path)
        yield i


@app.expose
def endless(done: str) -> Iterator[int]:
    try:
        i = 0
        while True:
            yield i
            i += 1
    finally:
        Path(done).write_text("closed")


@app.expose
def stalls(done: str) -> Iterator[int]:
    try:
        Path(done).with_suffix(".begun").write_text("")
        time.sleep(600)
        yield 0
    finally:
        Path(done).write_text("closed")


@app.expose
def fails(after: int) -> Iterator[int]:
    yield from range(after)
    raise ValueError("it does not go on")


@app.expose
def crashes(after: int) -> Iterator[int]:
    yield from range(after)
    os.kill(os.getpid(), signal.SIGSEGV)
