"""The Python side of the C host: what it may call."""

import os
from collections.abc import Iterator

from pyproc import App

app = App()


@app.expose
def greet(name: str) -> str:
    """A value comes back."""
    return f"hello, {name}"


@app.expose
def divide(a: int, b: int) -> float:
    """An exception comes back as data."""
    return a / b


@app.expose
def digits() -> Iterator[int]:
    """A stream that nobody reads to its end, since there is none."""
    number = 0
    while True:
        yield number % 10
        number += 1


@app.expose
def crash() -> None:
    """The worker dies; the host reads how."""
    os.abort()
