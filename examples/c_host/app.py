"""The Python side of the C host: what it may call."""

import os

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
def crash() -> None:
    """The worker dies; the host reads how."""
    os.abort()
