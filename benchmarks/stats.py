"""Statistics of the harness: percentiles within a cell, medians and paired ratios over rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.model import Key, Reading


def percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest sample that at least `percent` of all samples do not exceed.

    Raises ValueError without samples or outside (0, 100].
    """
    if not samples:
        raise ValueError("a percentile needs at least one sample")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be in (0, 100], not {percent}")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[rank - 1]


def latency_figures(samples: Sequence[float]) -> dict[str, float]:
    """The figures of one cell's calls; samples and results in seconds."""
    ordered = sorted(samples)
    return {
        "p50": percentile(ordered, 50),
        "p95": percentile(ordered, 95),
        "p99": percentile(ordered, 99),
        "calls": float(len(ordered)),
    }


class Results:
    """All readings of a run, asked by key. Rounds that failed are left out."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = tuple(readings)
        self._by_key: dict[Key, dict[int, float]] = {}
        for reading in readings:
            cell = reading.cell
            for figure, value in reading.figures.items():
                key = Key(cell.measurement, cell.variant, cell.contender, figure)
                self._by_key.setdefault(key, {})[cell.round] = value

    def rounds(self, key: Key) -> Mapping[int, float]:
        """The figure by round; empty when it was never measured."""
        return self._by_key.get(key, {})

    def median(self, key: Key) -> float | None:
        """Over the rounds, None when it was never measured."""
        values = self.rounds(key)
        return statistics.median(values.values()) if values else None

    def ratio(self, key: Key, reference: Key) -> float | None:
        """Median over rounds of key / reference of the *same* round.

        Pairing keeps a slow minute of the machine out of it: it slows both. None when no round
        has both, or where a reference is zero.
        """
        above, below = self.rounds(key), self.rounds(reference)
        common = above.keys() & below.keys()
        if not common or any(below[number] == 0 for number in common):
            return None
        return statistics.median(above[number] / below[number] for number in common)

    def errors(self) -> list[Reading]:
        """Readings without figures, in the order they were made."""
        return [reading for reading in self.readings if reading.error is not None]
