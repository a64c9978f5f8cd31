"""Generators of both kinds, for test_streams.py and test_astreams.py."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pyproc

app = pyproc.App()


def _tell(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


@app.expose
def count(number: int) -> Iterator[int]:
    yield from range(number)


@app.expose
def counted(path: str, pause: float = 0.0) -> Generator[int, None, None]:
    """Never ends; leaves in the file how many items it made, and that it was closed."""
    made = 0
    try:
        while True:
            made += 1
            yield made
            time.sleep(pause)
    finally:
        _tell(path, f"closed after {made}")


@app.expose
def slow_second(path: str, seconds: float) -> Iterator[str]:
    try:
        yield "first"
        time.sleep(seconds)
        yield "second"
    finally:
        _tell(path, "closed")


@app.expose
def stubborn(path: str) -> Iterator[int]:
    """Its end takes too long."""
    try:
        while True:
            yield os.getpid()
    finally:
        _tell(path, "closing")
        time.sleep(300)


@app.expose
def ignores_the_end() -> Iterator[int]:
    while True:
        try:
            yield 1
        except GeneratorExit:
            pass


@app.expose
def fails_at_its_end() -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        raise ValueError("the end failed")


@app.expose
def raises(number: int) -> Iterator[int]:
    yield from range(number)
    raise LookupError("no more")


@app.expose
def crashes(number: int) -> Iterator[int]:
    yield from range(number)
    os.abort()


@app.expose
def stops_iteration() -> Iterator[int]:
    yield 1
    raise StopIteration("a mistake")  # noqa: PLR1708


@app.expose
def values() -> Iterator[Any]:
    yield from (None, 1.5, "text", b"bytes", [1, {"a": 2}])
    yield (1, 2)
    yield {3, 4}


@app.expose
def lies(number: int) -> Iterator[int]:
    yield from range(number)
    yield "no number"  # type: ignore[misc]


@app.expose
def uncarried() -> Iterator[object]:
    yield 1
    yield object()


@app.expose
def blobs(sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield bytes(size)


@app.expose
def pids() -> Iterator[int]:
    while True:
        yield os.getpid()


@app.expose
def iterator() -> Any:
    return iter([1, 2, 3])


@app.expose
def plain() -> int:
    return 5


@app.expose
async def awaited() -> int:
    return 5


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
async def acount(number: int) -> AsyncIterator[int]:
    for item in range(number):
        if item % 100 == 0:
            await asyncio.sleep(0)
        yield item


@app.expose
async def acounted(path: str) -> AsyncIterator[int]:
    made = 0
    try:
        while True:
            made += 1
            yield made
    finally:
        await asyncio.sleep(0.001)
        _tell(path, f"closed after {made}")


@app.expose
async def aslow_second(path: str) -> AsyncIterator[str]:
    try:
        yield "first"
        await asyncio.sleep(300)
    finally:
        await asyncio.sleep(0.001)
        _tell(path, "closed")


@app.expose
async def araises(number: int) -> AsyncIterator[int]:
    for item in range(number):
        yield item
    raise LookupError("no more")


@app.expose
async def ticks_beside(path: str) -> AsyncIterator[int]:
    """A task of its own goes on while the reader takes its time."""

    async def tick() -> None:
        while True:
            _tell(path, ".")
            await asyncio.sleep(0.005)

    task = asyncio.ensure_future(tick())
    try:
        for item in range(10**9):
            yield item
    finally:
        task.cancel()
