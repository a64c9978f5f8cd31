"""Functions that take several calls at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from pyproc import App, Batch

app = App()
_sizes: list[int] = []


@app.expose(batch=Batch(10, 0.5))
def double(numbers: list[int]) -> list[int]:
    _sizes.append(len(numbers))
    return [2 * number for number in numbers]


@app.expose(batch=Batch(max_size=10, max_wait=0.3))
async def double_async(numbers: Sequence[int]) -> list[int]:
    _sizes.append(len(numbers))
    await asyncio.sleep(0.01)
    return [2 * number for number in numbers]


@app.expose
def sizes() -> list[int]:
    """Of the batches since the last question."""
    found = _sizes[:]
    _sizes.clear()
    return found


@app.expose(batch=Batch(4, 60))
def names(items: list[str]) -> list[str]:
    """A batch that starts only when it is full."""
    return [f"{item} of {','.join(items)}" for item in items]


@app.expose(batch=Batch(3, 60))
def odd(items: list[str]) -> list[object]:
    if "short" in items:
        return items[1:]  # type: ignore[return-value]
    if "none" in items:
        return None  # type: ignore[return-value]
    if "raise" in items:
        raise LookupError("all of them")
    if "crash" in items:
        os.kill(os.getpid(), signal.SIGSEGV)
    return [KeyError(item) if item == "bad" else item for item in items]


@app.expose(batch=Batch(2, 60))
def slow(paths: list[str]) -> list[int]:
    """Waits for the first path's file."""
    Path(paths[0] + ".started").touch()
    while not Path(paths[0]).exists():
        time.sleep(0.002)
    return [len(paths)] * len(paths)


@app.expose(batch=Batch(8, 0.05))
def wrong_type(items: list[int]) -> list[int]:
    return ["x" if item == 1 else item for item in items]  # type: ignore[misc]
