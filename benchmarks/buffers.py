"""Large arrays there and back, and arrays that are shared already.

    python -m benchmarks.buffers [--mib 64] [--rounds 7]

The function makes a new array (x * 2), so that both ways carry data. For each pool the median and
the best of the rounds after two that warm it up, all in this one process, one pool after the other.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

import pyproc

app = pyproc.App()
Way = Callable[[Any], Any]


@app.expose
def double(array: Any) -> Any:
    """As much work as there is data."""
    return array * 2


@app.expose
def nothing(array: Any = None) -> None:
    """An empty call."""


@contextmanager
def ours() -> Iterator[Way]:
    """pyproc.Pool."""
    with pyproc.Pool("benchmarks.buffers:app", workers=1) as pool:
        yield lambda array: pool.call("double", array)


@contextmanager
def executor() -> Iterator[Way]:
    """concurrent.futures.ProcessPoolExecutor."""
    with ProcessPoolExecutor(1) as pool:
        yield lambda array: pool.submit(double, array).result()


@contextmanager
def pool_of_multiprocessing() -> Iterator[Way]:
    """multiprocessing.Pool."""
    with multiprocessing.Pool(1) as pool:
        yield lambda array: pool.apply(double, (array,))


@contextmanager
def loky() -> Iterator[Way]:
    """loky's reusable executor."""
    pool = importlib.import_module("loky").get_reusable_executor(max_workers=1)
    yield lambda array: pool.submit(double, array).result()
    pool.shutdown(wait=True)


@contextmanager
def pebble() -> Iterator[Way]:
    """pebble.ProcessPool."""
    with importlib.import_module("pebble").ProcessPool(max_workers=1) as pool:
        yield lambda array: pool.schedule(double, args=(array,)).result()


@contextmanager
def joblib() -> Iterator[Way]:
    """joblib.Parallel, which puts large arguments into memory-mapped files."""
    module = importlib.import_module("joblib")
    with module.Parallel(n_jobs=2) as parallel:
        yield lambda array: parallel([module.delayed(double)(array)])[0]


WAYS = {
    "pyproc": ours,
    "ProcessPoolExecutor": executor,
    "multiprocessing.Pool": pool_of_multiprocessing,
    "loky": loky,
    "Pebble": pebble,
    "joblib": joblib,
}


def measure(way: Way, array: Any, rounds: int) -> list[float]:
    """Seconds of each round; the result is looked at and dropped."""
    taken = []
    for at in range(rounds + 2):
        start = time.perf_counter()
        back = way(array)
        spent = time.perf_counter() - start
        if back[-1] != array[-1] * 2:
            raise ValueError("a wrong array came back")
        del back
        if at >= 2:
            taken.append(spent)
    return taken


def shared(rounds: int) -> tuple[float, float]:
    """Microseconds of an empty call, and of the same with a shared array of 64 MiB."""
    array = pyproc.empty(8 * 2**20)
    with pyproc.Pool("benchmarks.buffers:app", workers=1) as pool:
        found = []
        for args in ((), (array,)):
            taken = []
            for _ in range(rounds * 200):
                start = time.perf_counter()
                pool.call("nothing", *args)
                taken.append(time.perf_counter() - start)
            found.append(statistics.median(taken) * 1e6)
    return found[0], found[1]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    array = np.random.default_rng(1).random(options.mib * 2**17)
    medians: dict[str, float] = {}
    for name, way in WAYS.items():
        try:
            with way() as call:
                taken = measure(call, array, options.rounds)
        except ImportError:
            print(f"{name:22} is not installed")
            continue
        medians[name] = statistics.median(taken)
        print(f"{name:22} {medians[name] * 1e3:8.1f} ms  best {min(taken) * 1e3:8.1f}")
    best = min(spent for name, spent in medians.items() if name != "pyproc")
    print(f"pyproc is {best / medians['pyproc']:.1f}x as fast as the best of the others")
    empty, passed = shared(options.rounds)
    print(f"empty call {empty:.1f} us, with a shared array {passed:.1f} us: {passed / empty:.1f}x")


if __name__ == "__main__":
    main()
