"""What programs call whose host meets faults."""

from __future__ import annotations

import ctypes
import logging

import pyproc

app = pyproc.App()


@app.expose
def double(n: int) -> int:
    return 2 * n


@app.expose
def echo(data: bytes) -> bytes:
    return data


@app.expose
def crash() -> None:
    ctypes.string_at(8)


@app.expose
def speak(text: str) -> None:
    print(text)
    logging.getLogger("steady").error(text)
