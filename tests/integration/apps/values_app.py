"""Functions that give back what they get, as annotated."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, NamedTuple

import msgspec
import numpy as np

import pyproc

app = pyproc.App()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Page(msgspec.Struct):
    number: int
    lines: list[str]


class Pair(NamedTuple):
    left: int
    right: str


@app.expose
def echo(value):
    return value


@app.expose
def kind(value):
    return type(value).__name__


@app.expose
def typed(
    point: Point | None = None,
    page: Page | None = None,
    pair: Pair | None = None,
    colour: Colour | None = None,
    when: datetime.datetime | None = None,
    price: decimal.Decimal | None = None,
    name: uuid.UUID | None = None,
    tags: set[str] | None = None,
) -> list[str]:
    """The types that arrived."""
    values = (point, page, pair, colour, when, price, name, tags)
    return [type(value).__name__ for value in values if value is not None]


@app.expose
def count(n: int, names: list[str] | None = None, *, ratio: float = 1.0) -> int:
    return n + len(names or [])


@app.expose
def moved(point: Point) -> Point:
    return Point(point.x + 1, point.y)


@app.expose
def wrong() -> int:
    return "not a number"  # type: ignore[return-value]


@app.expose
def unsendable(depth: int) -> Any:
    value: Any = object()
    for n in range(depth):
        value = {"at": value} if n % 2 else [0, value]
    return value


@app.expose
def blob(size: int) -> bytes:
    return bytes(size)


@app.expose
def total(array: Any) -> float:
    return float(np.asarray(array).sum())
