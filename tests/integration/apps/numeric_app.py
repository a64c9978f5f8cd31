"""Imports numpy, whose library makes threads of its own where it may."""

import os

import numpy

import pyproc

app = pyproc.App()


@app.expose
def product(n: int) -> float:
    matrix = numpy.full((n, n), 2.0)
    return float((matrix @ matrix)[0, 0])


@app.expose
def draw() -> float:
    return float(numpy.random.random())


@app.expose
def asked() -> str | None:
    return os.environ.get("OPENBLAS_NUM_THREADS")


@app.expose
def crash() -> None:
    os.abort()
