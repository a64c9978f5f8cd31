"""concurrent.futures.ProcessPoolExecutor, and loky's, which has the same interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib import import_module
from typing import Any

from benchmarks import work
from benchmarks.contenders.base import POOL, PoolContender


class ProcessPool(PoolContender):
    name = "ProcessPoolExecutor"
    offers = POOL | {"idle"}
    _pool: Executor

    def _make(self, workers: int) -> Executor:
        return ProcessPoolExecutor(workers)

    def open(self, workers: int) -> None:
        self._pool = self._make(workers)
        # Workers start with the first work handed over: as many calls as workers.
        for future in [self._pool.submit(work.nothing) for _ in range(workers)]:
            future.result()

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    def call(self, value: dict[str, Any]) -> object:
        return self._pool.submit(work.echo, value).result()

    def burst(self, count: int) -> None:
        submit = self._pool.submit
        for future in [submit(work.nothing) for _ in range(count)]:
            future.result()

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        return list(self._pool.map(function, items))

    def start(self, app: str) -> None:
        self._pool = self._make(1)
        self._pool.submit(work.import_app, app).result()


class Loky(ProcessPool):
    name = "loky"
    offers = POOL
    package = "loky"

    def _make(self, workers: int) -> Executor:
        # No stubs; its executor derives from concurrent.futures.Executor.
        pool: Executor = import_module("loky").ProcessPoolExecutor(workers)
        return pool
