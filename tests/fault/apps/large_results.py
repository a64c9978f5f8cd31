"""Results that go in memory of the host's."""

import os

import pyproc

app = pyproc.App()


@app.expose
def make(size: int) -> bytes:
    return bytes(size)


@app.expose
def pid() -> int:
    return os.getpid()
