"""An application whose annotations need no import."""

import sys

from pyproc.worker.registry import App

app = App()


@app.expose
def add(a: int, b: "int | None" = None) -> float | int:
    return a + (b or 0)


@app.expose
def heavy_modules():
    names = ("typing", "inspect", "msgspec", "dataclasses", "re", "enum", "logging", "traceback")
    return [name for name in names if name in sys.modules]
