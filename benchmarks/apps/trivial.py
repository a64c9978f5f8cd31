"""An app that imports nothing: what is left is the interpreter and us."""

from __future__ import annotations

from pyproc import App

app = App()


@app.expose
def ready() -> bool:
    return True
