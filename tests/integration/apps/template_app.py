"""Asked by tests of the template start method: who was imported, warmed and started where."""

import os
import random
import secrets
import tempfile
import threading
import uuid

import pyproc

app = pyproc.App()
imported_in = os.getpid()
warmed_in: list[int] = []
started_in: list[int] = []


@app.on_warmup
def warm() -> None:
    warmed_in.append(os.getpid())


@app.on_start
def start() -> None:
    started_in.append(os.getpid())


@app.expose
def places() -> dict[str, list[int]]:
    return {
        "here": [os.getpid()],
        "imported": [imported_in],
        "warmed": warmed_in,
        "started": started_in,
    }


@app.expose
def identity() -> dict[str, int]:
    return {"pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid()}


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def draws() -> list[str]:
    with tempfile.NamedTemporaryFile(prefix="pyproc-") as file:
        name = os.path.basename(file.name)
    return [str(random.random()), secrets.token_hex(), str(uuid.uuid4()), name]


@app.expose
def numpy_draws() -> float:
    import numpy

    return float(numpy.random.random())


@app.expose
def variable(name: str) -> str | None:
    return os.environ.get(name)


@app.expose
def threads() -> int:
    return threading.active_count()


@app.expose
def descriptors() -> list[str]:
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return links


@app.expose
def die(number: int) -> None:
    os.kill(os.getpid(), number)


@app.expose
def say(text: str) -> None:
    print(text)
