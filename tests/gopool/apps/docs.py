"""A script as users of the Go project write it: `python docs.py`, started by their pool."""

import asyncio
import os
import sys
import threading
import time

import pyproc

gate = threading.Event()


@pyproc.expose
def predict(req):
    return {"result": req["value"] * 2}


@pyproc.expose
def add(a: int, b: int = 1) -> int:
    return a + b


@pyproc.expose
def wait(req):
    """Until another connection calls `release`."""
    return gate.wait(60)


@pyproc.expose
def release(req):
    gate.set()


@pyproc.expose
def until_cancelled(req, cancel_event):
    return cancel_event.wait(60)


@pyproc.expose
def polls(req):
    limit = time.monotonic() + 60
    while not pyproc.current().cancelled() and time.monotonic() < limit:
        time.sleep(0.005)
    gate.set()
    return pyproc.current().call_id


@pyproc.expose
def was_cancelled(req):
    return gate.wait(30)


@pyproc.expose
async def later(req):
    await asyncio.sleep(0)
    return req


@pyproc.expose
def leaves(req):
    sys.exit(3)


@pyproc.expose
def raises(req):
    raise ValueError(f"no good: {req}")


@pyproc.expose
def odd(req):
    return {
        "nan": lambda: float("nan"),
        "bytes": lambda: b"\x00\xff",
        "set": lambda: {1},
        "object": object,
        "large": lambda: "x" * (11 * 1024 * 1024),
        "surrogate": lambda: "\ud800",
    }[req]()


@pyproc.expose
def pid(req):
    return os.getpid()


if __name__ == "__main__":
    pyproc.run_worker()
