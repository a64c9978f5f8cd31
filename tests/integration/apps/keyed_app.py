"""Functions for test_keys.py."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator

from pyproc import App

app = App()
SEEN: list[int] = []


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def add(number: int) -> list[int]:
    SEEN.append(number)
    return SEEN


@app.expose
def count(number: int) -> Iterator[int]:
    for _ in range(number):
        yield os.getpid()


@app.expose
def until(path: str) -> int:
    while not pathlib.Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


@app.expose
def die() -> None:
    os.abort()
