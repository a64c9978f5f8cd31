"""An idle pool: how often its host wakes up, and what many idle workers do to a call's latency."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from benchmarks import procfs
from benchmarks.contenders import Contender
from benchmarks.measurements.base import Measurement, opened, pin
from benchmarks.model import Column, Settings
from benchmarks.stats import latency_figures

FEW = 2


def workers_variant(workers: int) -> str:
    return f"{workers} workers"


class Idle(Measurement):
    name = "idle"
    title = "Idle pool: wake-ups a second, and a call's latency on one CPU"
    columns = (
        Column("p50", "p50 us", 1e6),
        Column("host", "host wake-ups/s"),
        Column("workers", "workers' wake-ups/s"),
    )

    def variants(self, settings: Settings) -> Sequence[str]:
        return (workers_variant(FEW), workers_variant(settings.idle_workers))

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        pin()
        workers = int(variant.split(maxsplit=1)[0])
        with opened(contender, workers, settings) as pool:
            samples = pool.latencies(settings.seconds, settings.max_calls, settings.warm_calls)
            host, others = wakeups_a_second(settings.idle_seconds)
        return {"p50": latency_figures(samples)["p50"], "host": host, "workers": others}


def wakeups_a_second(seconds: float) -> tuple[float, float]:
    """Of the host's threads with its helpers (keeper, fork server), and of all workers."""
    host = {os.getpid(), *procfs.helpers(os.getpid())}
    workers = set(procfs.descendants(os.getpid())) - host
    before = {pid: procfs.wakeups(pid) for pid in host | workers}
    time.sleep(seconds)
    after = {pid: procfs.wakeups(pid) for pid in host | workers}
    change = {pid: after[pid] - before[pid] for pid in before}
    change[os.getpid()] -= 1  # our own sleep
    return (
        sum(change[pid] for pid in host) / seconds,
        sum(change[pid] for pid in workers) / seconds,
    )
