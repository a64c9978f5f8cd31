"""The words of the harness: settings, a cell, and the reading that comes out of it.

A *cell* is one measurement of one contender in one variant and one round. It runs in a process
of its own, so no contender's threads, imports or workers are there when another is measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


def usable_cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Settings:
    """How much of everything; times in seconds."""

    rounds: int = 5
    seconds: float = 0.5  # what one timing loop may take
    max_calls: int = 20_000
    warm_calls: int = 200
    burst: int = 5_000
    most_items: int = 10_000  # of a map
    repeats: int = 5  # starts, deadlines and maps in one cell
    idle_workers: int = 64
    idle_seconds: float = 5.0
    quiet: float = 0.3  # no CPU used by the tree for so long: its workers are ready
    workers: int = field(default_factory=lambda: max(2, usable_cpus()))

    @classmethod
    def quick(cls) -> Settings:
        """One short round, for CI and for trying out a change."""
        return cls(
            rounds=1,
            seconds=0.15,
            max_calls=5_000,
            warm_calls=50,
            burst=1_000,
            most_items=1_000,
            repeats=2,
            idle_seconds=1.0,
            quiet=0.1,
        )


@dataclass(frozen=True)
class Cell:
    """One measurement of one contender, in one variant and one round."""

    measurement: str
    variant: str
    contender: str
    round: int


@dataclass(frozen=True)
class Reading:
    """What a cell gave: figures by name, or why there are none."""

    cell: Cell
    figures: Mapping[str, float]
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reading:
        return cls(Cell(**value["cell"]), dict(value["figures"]), value["error"])


@dataclass(frozen=True)
class Column:
    """One figure of a measurement, as a table shows it; `scale` makes it from the stored unit."""

    figure: str
    heading: str
    scale: float = 1.0
    digits: int = 1


@dataclass(frozen=True)
class Key:
    """Names one figure of the whole run."""

    measurement: str
    variant: str
    contender: str
    figure: str
