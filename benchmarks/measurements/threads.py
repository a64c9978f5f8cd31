"""Calls a second when 1, 2, 4 and 8 host threads call at once, over a pool of fixed size."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from benchmarks.contenders import Contender, PoolContender
from benchmarks.measurements.base import Measurement, opened
from benchmarks.model import Column, Settings
from benchmarks.work import SMALL


class Threads(Measurement):
    name = "threads"
    title = "Calls a second from several host threads"
    columns = (Column("rate", "calls/s", 1.0, 0),)

    def variants(self, settings: Settings) -> Sequence[str]:
        return ("1 thread", "2 threads", "4 threads", "8 threads")

    def measure(self, contender: Contender, variant: str, settings: Settings) -> dict[str, float]:
        count = int(variant.split(maxsplit=1)[0])
        with opened(contender, settings.workers, settings) as pool:
            pool.latencies(settings.seconds / 4, settings.warm_calls, 1)
            return {"rate": call_rate(pool, count, settings.seconds)}


def call_rate(pool: PoolContender, threads: int, seconds: float) -> float:
    """Calls a second of all threads together. Raises the first error that a thread met."""
    ready = threading.Barrier(threads + 1)
    counts = [0] * threads
    errors: list[BaseException] = []

    def caller(index: int) -> None:
        done, clock = 0, time.perf_counter
        ready.wait()
        try:
            end = clock() + seconds
            while clock() < end:
                pool.call(SMALL)
                done += 1
        except Exception as error:
            errors.append(error)
        counts[index] = done

    callers = [threading.Thread(target=caller, args=(index,)) for index in range(threads)]
    for thread in callers:
        thread.start()
    ready.wait()
    begin = time.perf_counter()
    for thread in callers:
        thread.join()
    elapsed = time.perf_counter() - begin
    if errors:
        raise errors[0]
    return sum(counts) / elapsed
