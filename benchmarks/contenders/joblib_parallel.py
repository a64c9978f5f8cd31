"""joblib.Parallel on its default backend, kept open. It has no single call: one is a list of one.

It must not be used from several threads at once, and hands over nothing but whole lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from benchmarks import work
from benchmarks.contenders.base import PoolContender


class Joblib(PoolContender):
    name = "joblib"
    package = "joblib"
    offers = frozenset({"latency", "map", "start", "memory"})
    _parallel: Any  # the package has no types
    _delayed: Any

    def open(self, workers: int) -> None:
        joblib = import_module("joblib")
        self._delayed = joblib.delayed
        self._parallel = joblib.Parallel(n_jobs=workers)
        self._parallel.__enter__()
        self.map(work.same, range(workers))

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)
        # Its workers outlive Parallel, to be used again: they are loky's.
        import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait=True)

    def call(self, value: dict[str, Any]) -> object:
        return self._parallel([self._delayed(work.echo)(value)])[0]

    def burst(self, count: int) -> None:
        raise NotImplementedError("joblib hands over nothing but lists: see map")

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        delayed = self._delayed(function)
        return list(self._parallel(delayed(item) for item in items))

    def start(self, app: str) -> None:
        joblib = import_module("joblib")
        # With one job it would not leave the process at all.
        self._parallel = joblib.Parallel(n_jobs=2)
        self._parallel.__enter__()
        self._parallel([joblib.delayed(work.import_app)(app)])
