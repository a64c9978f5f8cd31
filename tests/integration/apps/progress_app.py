"""Functions that say how far they are, for test_progress.py."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import pyproc

app = pyproc.App()


@app.expose
def steps(count: int, pause: float = 0.0) -> str:
    for number in range(count):
        pyproc.progress(number + 1, count, f"step {number + 1}")
        time.sleep(pause)
    return "done"


@app.expose
def waits_at(path: str, done: float) -> None:
    """Tells a number, and goes on when the file is there."""
    pyproc.current().progress(done)
    while not os.path.exists(path):
        time.sleep(0.002)


@app.expose
async def asteps(count: int) -> None:
    for number in range(count):
        pyproc.progress(number + 1, count)
        await asyncio.sleep(0.001)


@app.expose
def tells(n: Any, total: Any = None, message: Any = "") -> None:
    pyproc.progress(n, total, message)


@app.expose
def tells_odd(what: str) -> None:
    """What cannot be an argument."""
    values: dict[str, Any] = {
        "none": None,
        "nan": float("nan"),
        "infinity": float("inf"),
        "huge": 10**400,
        "negative": -1,
        "text": "3",
        "list": [3],
    }
    pyproc.progress(values[what])


@app.expose
def raises_after(done: int) -> None:
    pyproc.progress(done)
    raise LookupError("no more")


@app.expose
def dies_after(done: int) -> None:
    pyproc.progress(done)
    os.abort()


@app.expose
def streamed(count: int) -> Iterator[int]:
    for number in range(count):
        pyproc.progress(number + 1, count)
        yield number


@app.expose
def double(value: int) -> int:
    return 2 * value


@app.expose
def call_id() -> int:
    return pyproc.current().call_id
