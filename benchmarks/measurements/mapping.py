"""`map` over N items that cost nothing, a little, or more, in the chunks that each pool chooses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks import work
from benchmarks.contenders import Contender
from benchmarks.measurements.base import Measurement, opened, repeated
from benchmarks.model import Column, Settings


class Case(NamedTuple):
    items: int
    function: Callable[[int], int]


CASES = {
    "100 x 0 ms": Case(100, work.same),
    "1000 x 0 ms": Case(1_000, work.same),
    "10000 x 0 ms": Case(10_000, work.same),
    "1000 x 0.1 ms": Case(1_000, work.burn_short),
    "200 x 1 ms": Case(200, work.burn_long),
}


class Mapping(Measurement):
    name = "map"
    title = "map, each pool's own chunks"
    columns = (Column("rate", "items/s", 1.0, 0), Column("time", "ms in all", 1e3))

    def variants(self, settings: Settings) -> Sequence[str]:
        return [name for name, case in CASES.items() if case.items <= settings.most_items]

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        count, function = CASES[variant]
        items = range(count)
        expected = [function(item) for item in items]
        with opened(contender, settings.workers, settings) as pool:
            # Untimed: warms up, and shows that no answer is lost or out of place.
            if pool.map(function, items) != expected:
                raise AssertionError(f"{contender.name} gave wrong answers")
            run = repeated(lambda: pool.map(function, items), settings.seconds, settings.repeats)
        time = statistics.median(run)
        return {"time": time, "rate": count / time}
