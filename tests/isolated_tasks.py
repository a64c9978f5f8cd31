"""Functions that run in shared workers, for test_isolated.py."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import threading
import time

import pyproc


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pyproc.isolated
def double(n: int) -> int:
    return 2 * n


@pyproc.isolated
def pid() -> int:
    return os.getpid()


@pyproc.isolated()
def pid_again() -> int:
    return os.getpid()


@pyproc.isolated(max_workers=1)
def pid_of_another_policy() -> int:
    return os.getpid()


@pyproc.isolated
def point(x: int) -> Point:
    return Point(x, x + 1)


@pyproc.isolated
def pids_inside() -> list[int]:
    return [os.getpid(), pid(), pid_again(), pid_of_another_policy()]


@pyproc.isolated
def fail(text: str) -> None:
    raise ValueError(text)


@pyproc.isolated
def abort() -> None:
    os.abort()


@pyproc.isolated(timeout=0.2)
def hang() -> None:
    time.sleep(600)


@pyproc.isolated
def touch_and_hang(path: str) -> None:
    pathlib.Path(path).touch()
    time.sleep(600)


@pyproc.isolated
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@pyproc.isolated(results="pickle")
def pickled(n: int) -> pathlib.Path:
    if n < 0:
        raise LookupError("none", n)
    return pathlib.Path(str(n))


class Holder:
    @staticmethod
    @pyproc.isolated
    def held(n: int) -> int:
        return n * 10


@pyproc.isolated
def unsendable() -> object:
    return threading.Lock()
