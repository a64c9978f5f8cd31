"""mpire.WorkerPool, workers kept alive between maps. One thread at a time may use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from benchmarks import work
from benchmarks.contenders.base import POOL, PoolContender


class Mpire(PoolContender):
    name = "mpire"
    package = "mpire"
    offers = POOL - {"threads"}
    _pool: Any  # treated as untyped, like the other peers

    def open(self, workers: int) -> None:
        self._pool = import_module("mpire").WorkerPool(n_jobs=workers, keep_alive=True)

    def close(self) -> None:
        self._pool.stop_and_join()
        self._pool.terminate()

    def call(self, value: dict[str, Any]) -> object:
        return self._pool.apply(work.echo, args=(value,))

    def burst(self, count: int) -> None:
        apply_async = self._pool.apply_async
        for answer in [apply_async(work.nothing) for _ in range(count)]:
            answer.get()

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        return list(self._pool.map(function, items))

    def start(self, app: str) -> None:
        self._pool = import_module("mpire").WorkerPool(n_jobs=1)
        self._pool.apply(work.import_app, args=(app,))
