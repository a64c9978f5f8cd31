"""Latency of one call with a small dict, one caller: pinned to one CPU, and wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contenders import Contender, PoolContender
from benchmarks.measurements.base import Measurement, opened, pin
from benchmarks.model import Column, Settings
from benchmarks.stats import latency_figures

PINNED = "one CPU"
UNPINNED = "any CPU"


class Latency(Measurement):
    name = "latency"
    title = "Latency of one call, small dict there and back"
    columns = (
        Column("p50", "p50 us", 1e6),
        Column("p95", "p95 us", 1e6),
        Column("p99", "p99 us", 1e6),
    )

    def variants(self, settings: Settings) -> Sequence[str]:
        return (PINNED, UNPINNED)

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        if variant == PINNED:
            pin()
        amount = (settings.seconds, settings.max_calls, settings.warm_calls)
        if not isinstance(contender, PoolContender):
            return latency_figures(contender.latencies(*amount))
        with opened(contender, settings.workers, settings) as pool:
            return latency_figures(pool.latencies(*amount))
