"""Fails so many times and then does not; counts its attempts in a file."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pyproc

app = pyproc.App()


def note(log: str) -> int:
    """Attempts, this one included."""
    with open(log, "a") as file:
        file.write(".")
    return os.path.getsize(log)


@app.expose
def crash_twice(log: str) -> str:
    if note(log) <= 2:
        ctypes.string_at(0)
    return "done"


@app.expose
def raise_twice(log: str) -> str:
    if note(log) <= 2:
        raise ConnectionError("not yet")
    return "done"


@app.expose
def crash(number: int) -> None:
    ctypes.string_at(0)


@app.expose
def crash_at_seven(number: int) -> int:
    if number == 7:
        ctypes.string_at(0)
    return number


@app.expose
def echo(number: int) -> int:
    return number


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
