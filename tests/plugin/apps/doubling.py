"""What the tests of the pytest plugin run."""

import os

import pyproc

app = pyproc.App()


@app.expose
def double(number: int) -> int:
    return 2 * number


@app.expose
async def later(value: int) -> int:
    return value


@app.expose
def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
