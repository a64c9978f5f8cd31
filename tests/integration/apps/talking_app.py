"""Functions that print, log, and take the standard descriptors away."""

from __future__ import annotations

import asyncio
import ctypes
import io
import logging
import os
import sys
import time

import pyproc

app = pyproc.App()


@app.expose
def show(text: str) -> int:
    print(text)
    return 1


@app.expose
def complain(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


@app.expose
def raw(text: str, fd: int = 1) -> int:
    return os.write(fd, text.encode())


@app.expose
def from_c(text: str) -> int:
    return ctypes.CDLL(None).puts(text.encode())


@app.expose
def log(name: str, level: int, text: str) -> None:
    logging.getLogger(name).log(level, text)


@app.expose
def log_failure() -> None:
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("shop").exception("it failed")


@app.expose
def ask() -> str:
    return input("name? ")


@app.expose
def abuse(how: str) -> str:
    """Does something bad to descriptors 0 to 2, and answers all the same."""
    if how == "close":
        for fd in (0, 1, 2):
            os.close(fd)
    elif how == "closerange":
        os.closerange(0, 3)
    elif how == "dup2":
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
    elif how == "reuse":
        os.close(1)
        os.open("/dev/null", os.O_WRONLY)
        os.write(1, b"x" * 100_000)
    elif how == "garbage":
        os.write(1, bytes(range(256)) * 10)
    elif how == "stdout":
        sys.stdout = io.StringIO()
    elif how == "none":
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
    elif how == "closed":
        sys.stdout.close()
        sys.stderr.close()
    elif how == "raising":

        class Raising:
            def write(self, text: str) -> None:
                raise RuntimeError

            flush = write

        sys.stdout = Raising()  # type: ignore[assignment]
    return how


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def lines(name: str, count: int) -> None:
    for n in range(count):
        sys.stdout.write(f"{name}")
        sys.stdout.write(f" {n} " + "." * 200 + "\n")


@app.expose
async def later(value: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return value


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def pid() -> int:
    return os.getpid()
