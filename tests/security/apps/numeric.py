"""Libraries of numbers, imported at the top: their compiled code is there before the sandbox."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import pyproc

app = pyproc.App()


@app.expose
def product(size: int) -> float:
    """The largest entry of a product of two matrices; large ones use the threads of BLAS."""
    return float((np.ones((size, size)) @ np.ones((size, size))).max())


@app.expose
def solve(size: int) -> float:
    """The largest error of a linear system's solution; LAPACK."""
    matrix = np.eye(size) * 4 + np.ones((size, size))
    wanted = np.linspace(0, 1, size)
    return float(np.abs(np.linalg.solve(matrix, matrix @ wanted) - wanted).max())


@app.expose
def totals(table: str) -> dict[str, int]:
    frame = pd.read_csv(io.StringIO(table), parse_dates=["day"])
    by_name = frame.groupby("name")["count"].sum()
    return {str(name): int(count) for name, count in by_name.items()}


@app.expose
def scores(kind: str) -> float:
    """How much of its own training set a small model knows."""
    inputs, wanted = make_classification(n_samples=200, n_features=8, random_state=3)
    models = {"linear": LogisticRegression(), "neighbours": KNeighborsClassifier(1, n_jobs=1)}
    return float(models[kind].fit(inputs, wanted).score(inputs, wanted))
