"""multiprocessing.Pool: `apply` for calls, `apply_async` for the burst, `map` as it is."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import work
from benchmarks.contenders.base import POOL, PoolContender


class MultiprocessingPool(PoolContender):
    name = "multiprocessing.Pool"
    offers = POOL | {"idle"}
    _pool: multiprocessing.pool.Pool

    def open(self, workers: int) -> None:
        self._pool = multiprocessing.Pool(workers)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()

    def call(self, value: dict[str, Any]) -> object:
        return self._pool.apply(work.echo, (value,))

    def burst(self, count: int) -> None:
        apply_async = self._pool.apply_async
        for answer in [apply_async(work.nothing) for _ in range(count)]:
            answer.get()

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        return self._pool.map(function, items)

    def start(self, app: str) -> None:
        self._pool = multiprocessing.Pool(1)
        self._pool.apply(work.import_app, (app,))
