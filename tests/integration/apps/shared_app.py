"""Async functions for workers that run several calls side by side, and plain ones beside them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import pyproc
from pyproc import App

app = App()
_now = 0
_most = 0


@app.expose
async def nap(seconds: float) -> int:
    """The number of calls that were on the loop at most, this one included."""
    global _now, _most
    _now += 1
    _most = max(_most, _now)
    try:
        await asyncio.sleep(seconds)
    finally:
        _now -= 1
    return _most


@app.expose
async def add(a: int, b: int = 1) -> int:
    return a + b


@app.expose
def plain(x: int) -> list[int]:
    """The number of calls that are on the loop meanwhile."""
    return [x, _now]


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
async def wait_for_file(path: str) -> str:
    while not os.path.exists(path):
        await asyncio.sleep(0.002)
    return "there"


@app.expose
async def stubborn(started: str, cleaned: str) -> None:
    """Its `finally` says that it has run."""
    Path(started).touch()
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.01)
        Path(cleaned).touch()


@app.expose
async def holds_the_loop(seconds: float) -> None:
    time.sleep(seconds)


@app.expose
async def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@app.expose
async def leaves() -> None:
    raise SystemExit(3)


@app.expose
async def raises(text: str) -> None:
    raise LookupError(text)


@app.expose
async def who(pause: float) -> dict[str, object]:
    """What this call knows of itself, before and after others ran, in a thread and in a task."""

    async def child() -> int:
        await asyncio.sleep(0)
        return pyproc.current().call_id

    before = pyproc.current()
    left = before.remaining()
    await asyncio.sleep(pause)
    pyproc.progress(pause, 1)
    logging.getLogger("who").warning("of %d", before.call_id)
    return {
        "same": pyproc.current().call_id == before.call_id,
        "thread": await asyncio.to_thread(lambda: pyproc.current().call_id) == before.call_id,
        "task": await asyncio.create_task(child()) == before.call_id,
        "function": before.function,
        "id": before.call_id,
        "left": left,
    }


@app.expose
async def leaves_a_task(path: str) -> None:
    async def later() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            Path(path).touch()

    asyncio.get_running_loop().keep = asyncio.create_task(later())  # type: ignore[attr-defined]
    await asyncio.sleep(0)


@app.expose
async def large(n: int) -> bytes:
    await asyncio.sleep(0)
    return b"x" * n


@app.expose
async def spins() -> None:
    while True:
        pass
