"""64 MiB that a template has and its workers write to."""

import os

import pyproc

app = pyproc.App()
kept = bytearray(b"x") * (64 << 20)


@app.expose
def write_to_all() -> int:
    for at in range(0, len(kept), 4096):
        kept[at] = 1
    return len(kept)


@app.expose
def take(mib: int) -> int:
    return sum(len(part) for part in [bytearray(b"y") * (1 << 20) for _ in range(mib)])


@app.expose
def pid() -> int:
    return os.getpid()
