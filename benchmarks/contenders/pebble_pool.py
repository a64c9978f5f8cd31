"""pebble.ProcessPool: the peer that has deadlines, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from benchmarks import work
from benchmarks.contenders.base import POOL, PoolContender


class Pebble(PoolContender):
    name = "Pebble"
    package = "pebble"
    offers = POOL | {"deadline"}
    _pool: Any  # the package has no types

    def open(self, workers: int) -> None:
        self._pool = import_module("pebble").ProcessPool(max_workers=workers)
        self.burst(workers)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()

    def call(self, value: dict[str, Any]) -> object:
        return self._pool.schedule(work.echo, args=(value,)).result()

    def burst(self, count: int) -> None:
        schedule = self._pool.schedule
        for future in [schedule(work.nothing) for _ in range(count)]:
            future.result()

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        return list(self._pool.map(function, items).result())

    def start(self, app: str) -> None:
        self._pool = import_module("pebble").ProcessPool(max_workers=1)
        self._pool.schedule(work.import_app, args=(app,)).result()

    def overrun(self, function: Callable[[float], None], timeout: float) -> None:
        try:
            self._pool.schedule(function, args=(60.0,), timeout=timeout).result()
        except TimeoutError:
            return
        raise AssertionError("the deadline did not end the call")
