"""Hangs that are ended in time, and what is left when all has ended."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from benchmarks.stats import percentile
from benchmarks.supervision_model import MIB, Report, count, holdings, left, milliseconds, resident
from pyproc import Pool, TaskTimeout, WorkerCrashed, WorkerKilled

HANGS = ("regex", "loop in C, GIL held", "sleeps", "ignores SIGTERM", "stopped")
SECONDS = 1.0


def deadline(app: Path, scale: float, report: Report) -> None:
    """How late control is back, from the call to the error, less the deadline."""
    times = count(100, scale)
    with Pool(app, sandbox="none", workers=2) as pool:
        calls = pool.options(timeout=SECONDS)
        for how in HANGS:
            late, told, odd = [], 0, 0
            for _ in range(times):
                pool.call("pid")
                begin = time.monotonic()
                try:
                    calls.call("hang", how)
                except (TaskTimeout, WorkerKilled) as error:
                    late.append(time.monotonic() - begin - SECONDS)
                    told += error.python_stack is not None
                    odd += how != "stopped" and not isinstance(error, TaskTimeout)
            report.must(f"{how}: ended", len(late) - odd, times)
            report.line(f"{how}: late, p50", milliseconds(percentile(late, 50)))
            report.line(f"{how}: late, p99", milliseconds(percentile(late, 99)), "20 ms")
            report.line(f"{how}: with a Python stack", f"{told} of {times}")


WORKERS = 4


def _use(app: Path, times: int) -> None:
    for n in range(times):
        with Pool(app, sandbox="none", workers=1) as pool:
            if pool.call("echo", n) != n or pool.submit("echo", n).result(60) != n:
                raise SystemExit("a wrong answer")


def _flat(before: dict[str, int], memory: int, report: Report) -> None:
    for what, more in left(before).items():
        report.must(f"{what} left", more, 0)
    report.line("growth of the host", f"{(resident() - memory) / MIB:.2f} MiB", "2 MiB")


def rounds(app: Path, scale: float, report: Report) -> None:
    _use(app, count(100, scale))
    before, memory = holdings(), resident()
    times = count(1_000, scale)
    begin = time.monotonic()
    _use(app, times)
    report.line("a round", milliseconds((time.monotonic() - begin) / times))
    _flat(before, memory, report)


def _die(pool: Pool, times: int) -> int:
    """How many of the deaths were told as what they were."""
    told = 0
    ends = pool.map("crash", range(times), chunksize=1, return_exceptions=True)
    for end in ends:
        told += isinstance(end, WorkerCrashed) and end.signal == signal.SIGSEGV
    return told


def _whole(pool: Pool, seconds: float = 60.0) -> None:
    """Waits for the workers that replace the last dead ones."""
    limit = time.monotonic() + seconds
    while [worker.state for worker in pool.workers()] != ["ready"] * WORKERS:
        if time.monotonic() > limit:
            raise SystemExit("the pool did not replace its dead workers")
        time.sleep(0.01)


def deaths(app: Path, scale: float, report: Report) -> None:
    """Crashes with stacks, in one pool that stays open while it is looked at."""
    times = count(10_000, scale)
    with Pool(app, sandbox="none", min_workers=WORKERS, max_workers=WORKERS) as pool:
        _die(pool, count(1_000, scale))
        _whole(pool)
        before, memory = holdings(), resident()
        begin = time.monotonic()
        told = _die(pool, times)
        took = time.monotonic() - begin
        report.must("deaths told", told, times)
        report.line("deaths a second", f"{times / took:,.0f}")
        _flat(before, memory, report)
