"""From nothing to the first answer of a pool of one worker, beside a bare interpreter that imports
the same app and ends. The host has imported its own side of the pool before."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks.contenders import Contender, PoolContender
from benchmarks.contenders.interpreter import Interpreter
from benchmarks.measurements.base import Measurement
from benchmarks.model import Column, Settings

NEEDS = {"trivial": None, "stdlib": None, "pdf": "pypdf"}


class Start(Measurement):
    name = "start"
    title = "Start: pool opened to first answer, by what the app imports"
    columns = (Column("time", "ms", 1e3),)

    def variants(self, settings: Settings) -> Sequence[str]:
        return [app for app, need in NEEDS.items() if need is None or find_spec(need) is not None]

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        if not isinstance(contender, PoolContender | Interpreter):
            raise TypeError(f"{contender.name} cannot be started")
        app = f"benchmarks.apps.{variant}"
        times = []
        for _ in range(settings.repeats + 1):
            begin = time.perf_counter()
            contender.start(app)
            times.append(time.perf_counter() - begin)
            contender.close()
        # The first one also imports the host's side and writes bytecode.
        return {"time": statistics.median(times[1:])}
