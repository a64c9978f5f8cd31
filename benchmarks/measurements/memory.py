"""Memory of a pool of four idle workers after a few calls.

PSS is what the machine has less of, per worker: all processes of the pool and what the host itself
grew by, shared pages counted once. RSS is what `top` shows of one worker, shared pages and all.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence

from benchmarks.contenders import Contender
from benchmarks.measurements.base import Measurement, opened
from benchmarks.model import Column, Settings
from benchmarks.procfs import descendants, memory

WORKERS = 4
MIB = 1 / 1024**2


class Memory(Measurement):
    name = "memory"
    title = f"Memory of an idle worker, pool of {WORKERS}"
    columns = (Column("pss", "PSS MiB", MIB), Column("rss", "RSS MiB", MIB))

    def variants(self, settings: Settings) -> Sequence[str]:
        return (f"{WORKERS} workers",)

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        before = memory(os.getpid()).pss
        with opened(contender, WORKERS, settings) as pool:
            pool.latencies(settings.seconds, settings.warm_calls, 1)
            all_of_pool = [memory(pid) for pid in descendants(os.getpid())]
            host = memory(os.getpid()).pss
        # Keepers and trackers are smaller than any worker: the largest ones are the workers.
        workers = sorted((one.rss for one in all_of_pool), reverse=True)[:WORKERS]
        pss = sum(one.pss for one in all_of_pool) + host - before
        return {"pss": pss / WORKERS, "rss": statistics.median(workers)}
