"""Many of everything: pools, calls, threads, workers."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import pytest

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
        with Pool(app, workers=1, sandbox="none") as pool:
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


def test_many_threads_share_two_workers(app: Path) -> None:
    wrong: list[object] = []

    def run(start: int) -> None:
        for n in range(50):
            if pool.call("add", start, n) != start + n:
                wrong.append((start, n))

    with Pool(app, workers=2, sandbox="none") as pool:
        threads = [threading.Thread(target=run, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        assert pool.stats()["calls_ok"] == 64 * 50
    assert wrong == []


@pytest.mark.slow
@pytest.mark.no_sanitizer("64 sanitised interpreters take more memory than a machine may have")
def test_sixty_four_idle_workers_wake_nobody_up(app: Path) -> None:
    with Pool(app, min_workers=64, max_workers=64, sandbox="none") as pool:
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
    with Pool(app, workers=1, sandbox="none") as pool:
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


def test_workers_come_and_go_as_calls_kill_them(app: Path) -> None:
    with Pool(app, workers=3, sandbox="none") as pool:
        pids = set()
        for _ in range(40):
            pids.add(pool.call("pid"))
            pool.submit("nap", 600).kill()
        assert pool.call("add", 1, 2) == 3
    assert pids
