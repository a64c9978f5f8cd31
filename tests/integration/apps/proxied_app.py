"""Functions for test_proxies.py."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from pyproc import App

app = App()


@dataclass
class Page:
    number: int
    text: str


@app.expose
def extract(data: bytes, page: int = 0, *, dpi: int = 72) -> str:
    return f"{data.decode()} {page} {dpi}"


@app.expose
def page(number: int) -> Page:
    return Page(number, "text")


@app.expose
async def later(n: int) -> int:
    return n + 1


@app.expose
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.expose
async def acount(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@app.expose
def strict(*, name: str) -> str:
    return name


@app.expose
def anything(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


@functools.lru_cache
def _cached(n: int, more: int = 3) -> int:
    return n * more


app.expose(_cached, name="cached")


@app.expose
def lies(n: int) -> Any:
    return str(n)
