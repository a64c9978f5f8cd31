"""What the harness asks of a contender.

A contender says which measurements it takes part in (`offers`) and why it cannot (`missing`).
Everything else is only called inside a cell, after `open`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any, ClassVar

from benchmarks.work import SMALL

POOL = frozenset({"latency", "threads", "burst", "map", "start", "memory"})


class Contender(ABC):
    """One thing that answers requests from another process."""

    name: ClassVar[str]
    offers: ClassVar[frozenset[str]]  # names of measurements

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        return None

    def version(self) -> str:
        """What was measured, for the record."""
        return ""

    @abstractmethod
    def latencies(self, seconds: float, calls: int, warm: int) -> list[float]:
        """Seconds of each of at most `calls` calls, in at most about `seconds`."""


class PoolContender(Contender):
    """A pool of worker processes."""

    offers = POOL
    package: ClassVar[str | None] = None  # what must be importable; None: the standard library
    distribution: ClassVar[str | None] = None  # where its name differs from the package's

    def missing(self) -> str | None:
        if self.package is not None and find_spec(self.package) is None:
            return f"{self.distribution or self.package} is not installed"
        return None

    def version(self) -> str:
        if self.package is None:
            return "standard library"
        return metadata.version(self.distribution or self.package)

    @abstractmethod
    def open(self, workers: int) -> None:
        """Makes the pool. Workers may start later."""

    @abstractmethod
    def close(self) -> None:
        """Ends the pool and waits for its workers."""

    @abstractmethod
    def call(self, value: dict[str, Any]) -> object:
        """`work.echo(value)` in a worker: waits for the answer."""

    @abstractmethod
    def burst(self, count: int) -> None:
        """Hands over `count` times `work.nothing`, then waits for all answers."""

    @abstractmethod
    def map(self, function: Callable[[int], int], items: Sequence[int]) -> list[int]:
        """A function of `work` over all items, with the chunks that the pool chooses itself."""

    @abstractmethod
    def start(self, app: str) -> None:
        """Opens a pool of one worker that has imported the module `app`, takes one answer.

        `close` is called afterwards, outside the time taken.
        """

    def overrun(self, function: Callable[[float], None], timeout: float) -> None:
        """Calls with a deadline; returns as soon as the caller is told that it has passed."""
        raise NotImplementedError(f"{self.name} has no deadlines")

    def latencies(self, seconds: float, calls: int, warm: int) -> list[float]:
        call, clock = self.call, time.perf_counter
        if (answer := call(SMALL)) != SMALL:
            raise AssertionError(f"{self.name} answered {answer!r}")
        end = clock() + seconds
        for _ in range(warm):
            call(SMALL)
            if clock() > end:
                break
        samples = []
        end = clock() + seconds
        for _ in range(calls):
            begin = clock()
            call(SMALL)
            now = clock()
            samples.append(now - begin)
            if now > end:
                break
        return samples
