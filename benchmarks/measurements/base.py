"""What a measurement is: its variants, its columns, and the code that runs in a cell."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from benchmarks.contenders import Contender, PoolContender
from benchmarks.model import Column, Settings
from benchmarks.procfs import settle


class Measurement(ABC):
    """One question, asked of every contender that offers an answer."""

    name: ClassVar[str]
    title: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]  # the first one is compared with pyproc's

    @abstractmethod
    def variants(self, settings: Settings) -> Sequence[str]:
        """Names of the circumstances that are measured one by one."""

    @abstractmethod
    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        """Runs in a cell. Figures are in seconds, bytes or events a second."""


def pool(contender: Contender) -> PoolContender:
    """Only pools offer most measurements; says so to the type checker, and to whoever adds one."""
    if not isinstance(contender, PoolContender):
        raise TypeError(f"{contender.name} is no pool")
    return contender


@contextmanager
def opened(contender: Contender, workers: int, settings: Settings) -> Iterator[PoolContender]:
    """An open pool whose workers are all there and quiet."""
    found = pool(contender)
    found.open(workers)
    try:
        # Some peers poll all the time and never are quiet: they are measured as they are.
        settle(workers, settings.quiet, limit=2.0 + workers * 0.3)
        yield found
    finally:
        found.close()


def pin() -> None:
    """Binds this process, and all that it will start, to one CPU: the last, which mostly has the
    fewest interrupts."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def repeated(action: Callable[[], object], seconds: float, most: int) -> list[float]:
    """Times an action, once at least, until `seconds` are used up."""
    clock = time.perf_counter
    end = clock() + seconds
    times: list[float] = []
    while not times or (len(times) < most and clock() < end):
        begin = clock()
        action()
        times.append(clock() - begin)
    return times
