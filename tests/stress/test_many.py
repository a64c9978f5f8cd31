"""Many of everything: pools, calls, threads, workers."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import pyproc
from pyproc import Pool

APP = """
import os, time
import pyproc
@pyproc.expose
def add(a: int, b: int) -> int: return a + b
@pyproc.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
@pyproc.expose
def pid() -> int: return os.getpid()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    file = tmp_path / "many_app.py"
    file.write_text(APP)
    return file


def resident() -> int:
    """KiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def wake_ups() -> int:
    """How often the threads of this process have gone to sleep so far."""
    total = 0
    for thread in Path("/proc/self/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def open_use_and_close(app: Path, times: int) -> None:
    for n in range(times):
        with Pool(app, workers=1) as pool:
            assert pool.call("add", n, 1) == n + 1
            assert pool.submit("add", n, 2).result(60) == n + 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.no_sanitizer("memory figures of a sanitised build say nothing")
def test_a_thousand_pools_leave_no_memory_behind(app: Path) -> None:
    open_use_and_close(app, 100)
    gc.collect()
    before = resident()
    open_use_and_close(app, 1000)
    gc.collect()
    assert resident() - before < 4096


def test_pools_opened_and_closed_at_once_do_not_disturb_each_other(app: Path) -> None:
    wrong: list[BaseException] = []

    def run() -> None:
        try:
            open_use_and_close(app, 5)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


def test_many_threads_share_two_workers(app: Path) -> None:
    wrong: list[object] = []

    def run(start: int) -> None:
        for n in range(50):
            if pool.call("add", start, n) != start + n:
                wrong.append((start, n))

    with Pool(app, workers=2) as pool:
        threads = [threading.Thread(target=run, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        assert pool.stats()["calls_ok"] == 64 * 50
    assert wrong == []


def test_fifty_thousand_calls_wait_in_the_queue_and_are_answered(app: Path) -> None:
    with Pool(app, workers=2) as pool:
        futures = [pool.submit("add", n, 1) for n in range(50_000)]
        assert sum(future.result(120) for future in futures) == sum(range(1, 50_001))


@pytest.mark.no_sanitizer("64 sanitised interpreters take more memory than a machine may have")
def test_sixty_four_idle_workers_wake_nobody_up(app: Path) -> None:
    with Pool(app, min_workers=64, max_workers=64) as pool:
        deadline = time.monotonic() + 120
        while pool.stats()["workers_idle"] < 64:
            assert time.monotonic() < deadline, pool.stats()
            time.sleep(0.05)
        quietest = 1000
        for _ in range(5):  # a machine's own noise must not decide
            before = wake_ups()
            time.sleep(1)
            quietest = min(quietest, wake_ups() - before)
        # The thread that measures goes to sleep once itself.
        assert quietest <= 1


def test_resizing_under_load_loses_no_call(app: Path) -> None:
    with Pool(app, workers=1) as pool:
        futures = []
        for n in range(60):
            futures += [pool.submit("nap", 0.002) for _ in range(20)]
            pool.resize(1 + n % 4)
        assert [future.result(120) for future in futures] == [0.002] * 1200
        pool.resize(1)
        deadline = time.monotonic() + 60
        while len(pool.workers()) > 1:
            assert time.monotonic() < deadline, pool.workers()
            time.sleep(0.01)


@pytest.mark.parametrize("timeout", [0, 0.05, None])
def test_closing_under_load_from_several_threads_ends_every_call_once(
    app: Path, timeout: float | None
) -> None:
    ends: Counter[str] = Counter()
    lock = threading.Lock()

    def count(future: object) -> None:
        assert isinstance(future, pyproc.Future)
        error = future.exception()
        with lock:
            ends[type(error).__name__ if error else "value"] += 1

    pool = Pool(app, workers=2)
    futures = [pool.submit("nap", 0.001) for _ in range(1000)]
    for future in futures:
        future.add_done_callback(count)
    closers = [threading.Thread(target=pool.close, args=(timeout,)) for _ in range(4)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(120)
    assert not any(closer.is_alive() for closer in closers)
    assert all(future.done() for future in futures)
    assert set(ends) <= {"value", "PoolClosed"}
    assert sum(ends.values()) == 1000
    if timeout is None:
        assert ends["value"] == 1000


def test_workers_come_and_go_as_calls_kill_them(app: Path) -> None:
    with Pool(app, workers=3) as pool:
        pids = set()
        for _ in range(40):
            pids.add(pool.call("pid"))
            pool.submit("nap", 600).kill()
        assert pool.call("add", 1, 2) == 3
    assert pids
