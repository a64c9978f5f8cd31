"""Loads under which workers die: what is answered, what is lost, how fast it goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.stats import percentile
from benchmarks.supervision_model import Report, count, milliseconds
from pyproc import Pool, Recycle, WorkerCrashed, WorkerDied

WORKERS = 4


def _told(end: object) -> bool:
    """A crash that says signal and Python stack."""
    return (
        isinstance(end, WorkerCrashed)
        and end.signal == signal.SIGSEGV
        and "File" in (end.python_stack or "")
    )


def crashes(app: Path, scale: float, report: Report) -> None:
    """Calls of 4 threads; the same without crashes first."""
    calls = count(10_000, scale)

    def load(pool: Pool, every: int) -> tuple[float, list[object]]:
        def one(n: int) -> object:
            try:
                return pool.call("maybe", n, n % every == every - 1)
            except Exception as error:
                return error

        with ThreadPoolExecutor(WORKERS) as threads:
            begin = time.perf_counter()
            ends = list(threads.map(one, range(calls)))
            return calls / (time.perf_counter() - begin), ends

    with Pool(app, sandbox="none", workers=WORKERS) as pool:
        load(pool, calls + 1)
        calm, _ = load(pool, calls + 1)
        speed, ends = load(pool, 100)
    report.must("crashes with signal and stack", sum(map(_told, ends)), calls // 100)
    right = sum(type(end) is int and end == n for n, end in enumerate(ends))
    report.must("right answers", right, calls - calls // 100)
    report.line("calls a second", f"{speed:,.0f}")
    report.line("part of the speed without crashes", f"{speed / calm:.0%}", "20 %")


def mapped(app: Path, scale: float, report: Report) -> None:
    """One map, chunks of the pool's choice, every item noted in a file."""
    size = count(100_000, scale)

    def load(pool: Pool, path: str, every: int) -> tuple[float, list[object]]:
        items = ((path, n, n % every == every - 1) for n in range(size))
        begin = time.perf_counter()
        ends = list(pool.map("note", items, return_exceptions=True))
        return size / (time.perf_counter() - begin), ends

    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(app, sandbox="none", workers=WORKERS) as pool,
    ):
        calm, _ = load(pool, f"{folder}/calm", size + 1)
        speed, ends = load(pool, f"{folder}/noted", 1000)
        data = Path(folder, "noted").read_bytes()
    runs = Counter(int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4))
    report.must("crashes with signal and stack", sum(map(_told, ends)), size // 1000)
    right = sum(type(end) is int and end == n for n, end in enumerate(ends))
    report.must("right answers", right, size - size // 1000)
    report.must("items that ran exactly once", sum(runs[n] == 1 for n in range(size)), size)
    report.line("items a second", f"{speed:,.0f}")
    report.line("part of the speed without crashes", f"{speed / calm:.0%}", "20 %")


class _Hand:
    """Strikes at one worker every 50 ms, in turn by three signals."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._over = threading.Event()
        self._random = random.Random(1)
        self.strikes = 0

    def work(self) -> None:
        numbers = [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV]
        while not self._over.wait(0.05):
            pids = [worker.pid for worker in self._pool.workers() if worker.pid > 1]
            if not pids:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(pids), numbers[self.strikes % 3])
                self.strikes += 1

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self.work)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def storm(app: Path, scale: float, report: Report) -> None:
    """8 threads, calls of 1 ms."""
    calls = count(20_000, scale)

    def one(n: int) -> str:
        try:
            return "right" if pool.call("work", n, 0.001) == n else "wrong"
        except WorkerDied:
            return "died"
        except Exception as error:
            return f"odd: {error!r}"

    with Pool(app, sandbox="none", workers=WORKERS) as pool:
        hand = _Hand(pool)
        begin = time.perf_counter()
        with hand.at_work(), ThreadPoolExecutor(8) as threads:
            ends = Counter(threads.map(one, range(calls)))
        took = time.perf_counter() - begin
        after = [pool.submit("work", n, 0.05).result(60) for n in range(WORKERS)]
        limit = time.monotonic() + 60
        while (stats := pool.stats())["workers_idle"] != stats["workers"]:
            if time.monotonic() > limit:
                break
            time.sleep(0.01)
    died = ends.pop("died", 0)
    right = ends.pop("right", 0)
    report.must("wrong answers and odd ends", ends.total(), 0)
    report.must("answers and deaths together", right + died, calls)
    report.line("deaths", f"{died:,}", f"at most {hand.strikes:,} strikes")
    report.wrong += died > hand.strikes
    report.must("answers afterwards", len(after), WORKERS)
    report.must("workers idle afterwards", stats["workers_idle"], stats["workers"])
    report.line("seconds", f"{took:.1f}")


def ready(app: Path, scale: float, report: Report) -> None:
    """The only worker ends; a call that waits is answered by the next one."""
    times = count(200, scale)
    killed: list[float] = []
    crashed: list[float] = []
    with Pool(app, sandbox="none", workers=1, start_method="template") as pool:
        for _ in range(times):
            pid = pool.call("pid")
            begin = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            pool.call("pid")
            killed.append(time.perf_counter() - begin)
            with contextlib.suppress(WorkerCrashed):
                pool.call("maybe", 0, True)
            begin = time.perf_counter()
            pool.call("pid")
            crashed.append(time.perf_counter() - begin)
    for what, samples in (("the error of a crash", crashed), ("a SIGKILL from outside", killed)):
        for percent in (50, 95):
            figure = f"{what} to the next worker's answer, p{percent}"
            wanted = "5 ms" if percent == 50 else ""
            report.line(figure, milliseconds(percentile(samples, percent)), wanted)


def fresh(app: Path, scale: float, report: Report) -> None:
    """Recycle(max_tasks=1); one caller, and as many as workers."""
    calls = count(2_000, scale)
    for callers in (1, WORKERS):
        with (
            Pool(app, sandbox="none", workers=WORKERS, recycle=Recycle(max_tasks=1)) as pool,
            ThreadPoolExecutor(callers) as threads,
        ):
            for _ in range(20):
                pool.call("pid")
            begin = time.perf_counter()
            pids = list(threads.map(lambda _: pool.call("pid"), range(calls)))
            speed = calls / (time.perf_counter() - begin)
        report.line(f"calls a second, callers: {callers}", f"{speed:,.0f}", "300")
        repeated = sum(a == b for a, b in itertools.pairwise(pids))
        report.must(f"processes used twice in a row, callers: {callers}", repeated, 0)
