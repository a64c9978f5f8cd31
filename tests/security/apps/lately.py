"""Imports nothing but pyproc at the top; the rest when a call asks for it."""

from __future__ import annotations

import importlib

import pyproc

app = pyproc.App()


@app.expose
def imports(name: str) -> str:
    return importlib.import_module(name).__name__


@app.expose
def product(size: int) -> float:
    import numpy as np

    return float((np.ones((size, size)) @ np.ones(size)).sum())


@app.expose
def root(document: bytes) -> str:
    from lxml import etree

    return str(etree.fromstring(document).tag)
