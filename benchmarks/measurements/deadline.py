"""How late a caller learns that its deadline has passed, while the worker sleeps or spins."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import work
from benchmarks.contenders import Contender
from benchmarks.measurements.base import Measurement, opened
from benchmarks.model import Column, Settings
from benchmarks.stats import percentile

FUNCTIONS = {"worker sleeps": work.sleep, "worker spins": work.spin}
TIMEOUT = 0.1


class Deadline(Measurement):
    name = "deadline"
    title = f"Deadline of {TIMEOUT * 1e3:.0f} ms: how late its error comes"
    columns = (Column("p50", "p50 ms", 1e3, 2), Column("max", "worst ms", 1e3, 2))

    def variants(self, settings: Settings) -> Sequence[str]:
        return tuple(FUNCTIONS)

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        late = []
        with opened(contender, settings.workers, settings) as pool:
            for _ in range(settings.repeats):
                pool.call(work.SMALL)  # a worker is there
                begin = time.perf_counter()
                pool.overrun(FUNCTIONS[variant], TIMEOUT)
                late.append(time.perf_counter() - begin - TIMEOUT)
        return {"p50": percentile(late, 50), "max": max(late)}
