"""An application behind a named socket."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from pyproc import App

app = App()


@app.expose
def double(x: int) -> int:
    return 2 * x


@app.expose
def echo(value: object, *, tag: str = "") -> object:
    return [value, tag] if tag else value


@app.expose
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@app.expose
def secret(path: str) -> None:
    raise ValueError(f"cannot read {path}")


@app.expose
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@app.expose
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def admin_reset() -> str:
    return "reset"
