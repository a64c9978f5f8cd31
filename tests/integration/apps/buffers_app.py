"""Functions that take and give large buffers."""

from __future__ import annotations

import dataclasses
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np

import pyproc

app = pyproc.App()
kept: list[Any] = []


@dataclasses.dataclass
class Frame:
    name: str
    pixels: Any


@app.expose
def echo(value: Any) -> Any:
    return value


@app.expose
def kind(value: Any) -> list[Any]:
    flags = getattr(value, "flags", None)
    readonly = value.readonly if isinstance(value, memoryview) else None
    return [type(value).__name__, None if flags is None else flags.writeable, readonly]


@app.expose
def double(array: np.ndarray) -> np.ndarray:
    return array * 2


@app.expose
def total(array: Any) -> float:
    return float(np.sum(array))


@app.expose
def frame(name: str, size: int) -> Frame:
    return Frame(name, np.arange(size, dtype="i4"))


@app.expose
def only_bytes(data: bytes) -> str:
    return type(data).__name__


@app.expose
def zeros(size: int) -> bytes:
    return bytes(size)


@app.expose
def try_to_write(array: Any) -> str:
    try:
        array[0] = 1
    except (ValueError, TypeError) as error:
        return type(error).__name__
    return "written"


@app.expose
def keep(array: Any) -> int:
    kept.append(array)
    return len(kept)


@app.expose
def sum_of_kept() -> list[float]:
    return [float(np.sum(array)) for array in kept]


@app.expose
def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@app.expose
def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@app.expose
def die_once(array: Any, marker: str) -> float:
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), 9)
    return float(np.sum(array))


@app.expose
def die_with(array: Any) -> None:
    os.kill(os.getpid(), 9)


@app.expose
async def later(array: Any) -> Any:
    return array + 1
