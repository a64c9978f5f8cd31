"""State of a worker's own: made at its start, given back at its end."""

from __future__ import annotations

import asyncio
import os
import time

import pyproc

app = pyproc.App()
state: dict[str, int] = {}


def _tell(text: str) -> None:
    with open(os.environ["STATE_LOG"], "a") as file:
        file.write(f"{text} {os.getpid()}\n")


@app.on_start
def connect() -> None:
    state["connected"] = os.getpid()
    _tell("start")


@app.on_stop
def disconnect() -> None:
    _tell("stop")


@app.on_stop
async def flush() -> None:
    await asyncio.sleep(0.001)
    _tell("flush")


@app.on_stop
def fail() -> None:
    if "STOP_FAILS" in os.environ:
        raise ValueError("the hook failed")
    if "STOP_HANGS" in os.environ:
        time.sleep(300)


@app.expose
def connected() -> int:
    return state["connected"]
