"""A model whose library leaks memory with each call, and workers that are replaced in time.

    python examples/leaking_model.py

`Recycle` lets a fresh worker get ready before the old one goes; no call is lost.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyproc

app = pyproc.App()
weights: list[float] = []
leaked: list[bytearray] = []


@app.on_warmup
def load() -> None:
    """Once; workers are forked with it in memory."""
    weights.extend(n / 1000 for n in range(1000))


@app.expose
def predict(value: float) -> tuple[float, int]:
    """The answer, and which process gave it."""
    leaked.append(bytearray(os.urandom(1024)) * 1024)  # a MiB that nobody frees
    return value * sum(weights), os.getpid()


def main() -> None:
    """Two hundred predictions; prints how many workers made them."""
    recycle = pyproc.Recycle(max_tasks=50, max_memory="128MiB")
    with pyproc.Pool(Path(__file__), workers=2, recycle=recycle) as pool:
        answers = list(pool.map("predict", [float(n) for n in range(200)]))
        expected = [n * 499.5 for n in range(200)]
        right = sum(
            abs(got - want) < 1e-6 for (got, _), want in zip(answers, expected, strict=True)
        )
        workers = len({pid for _, pid in answers})
        print(f"{right} right answers from {'several' if workers >= 4 else workers} workers")


if __name__ == "__main__":
    main()
