"""Everything that is measured, in the order of the tables."""

from __future__ import annotations

from benchmarks.measurements.base import Measurement
from benchmarks.measurements.burst import Burst
from benchmarks.measurements.deadline import Deadline
from benchmarks.measurements.idle import Idle
from benchmarks.measurements.latency import Latency
from benchmarks.measurements.mapping import Mapping
from benchmarks.measurements.memory import Memory
from benchmarks.measurements.start import Start
from benchmarks.measurements.threads import Threads

MEASUREMENTS: dict[str, Measurement] = {
    measurement.name: measurement
    for measurement in (
        Latency(),
        Threads(),
        Burst(),
        Mapping(),
        Start(),
        Memory(),
        Idle(),
        Deadline(),
    )
}

__all__ = ["MEASUREMENTS", "Measurement"]
