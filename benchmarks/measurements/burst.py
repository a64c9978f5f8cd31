"""A burst of no-ops handed over one by one by one thread, then all answers taken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.contenders import Contender
from benchmarks.measurements.base import Measurement, opened, repeated
from benchmarks.model import Column, Settings


class Burst(Measurement):
    name = "burst"
    title = "Burst of no-ops, handed over one by one, until the last answer"
    columns = (Column("rate", "calls/s", 1.0, 0),)

    def variants(self, settings: Settings) -> Sequence[str]:
        return (f"{settings.burst} no-ops",)

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        with opened(contender, settings.workers, settings) as pool:
            pool.burst(settings.warm_calls)
            times = repeated(lambda: pool.burst(settings.burst), settings.seconds, settings.repeats)
            return {"rate": settings.burst / statistics.median(times)}
