"""pyproc.Pool, the subject of all this: leased calls by `call`, queued ones by `submit`, `map`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.base import POOL, PoolContender

if TYPE_CHECKING:
    import pyproc


class Pyproc(PoolContender):
    name = "pyproc"
    package = "pyproc"
    offers = POOL | {"idle", "deadline"}
    _pool: pyproc.Pool

    def missing(self) -> str | None:
        try:
            import_module("pyproc._core")
        except ImportError as error:
            return f"not built: {error}"
        return None

    def version(self) -> str:
        return str(import_module("pyproc").__version__)

    def open(self, workers: int) -> None:
        from pyproc import Pool

        self._pool = Pool("benchmarks.apps.calls:app", min_workers=workers, max_workers=workers)

    def close(self) -> None:
        self._pool.close()

    def call(self, value: dict[str, Any]) -> object:
        return self._pool.call("echo", value)

    def burst(self, count: int) -> None:
        submit = self._pool.submit
        for future in [submit("nothing") for _ in range(count)]:
            future.result()

    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        return list(self._pool.map(function.__name__, items))

    def start(self, app: str) -> None:
        from pyproc import Pool

        self._pool = Pool(f"{app}:app", workers=1)
        self._pool.call("ready")

    def overrun(self, function: Callable[[float], None], timeout: float) -> None:
        from pyproc.errors import TaskTimeout

        try:
            self._pool.options(timeout=timeout).call(function.__name__, 60.0)
        except TaskTimeout:
            return
        raise AssertionError("the deadline did not end the call")
