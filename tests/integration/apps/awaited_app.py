"""Functions that are awaited, and coroutine functions."""

import asyncio
import os
import time

import pyproc

app = pyproc.App()


@app.expose
def double(n: int) -> int:
    return 2 * n


@app.expose
def fail(text):
    raise KeyError(text)


@app.expose
def end_of_iteration():
    raise StopIteration("done")


@app.expose
def crash():
    os.abort()


@app.expose
def nap(seconds):
    time.sleep(seconds)
    return seconds


@app.expose
def mark_then_nap(path, seconds):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


@app.expose
async def later(n: int) -> int:
    await asyncio.sleep(0.001)
    return n + 1


@app.expose
async def gathered(count):
    return await asyncio.gather(*(later(n) for n in range(count)))


@app.expose
async def fail_later(text):
    await asyncio.sleep(0)
    raise OSError(7, text)
