"""Who waits for a worker: higher priorities first, and nobody for ever."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Future, Pool

DEADLINE = 60.0
APP = """
import time
import pyproc

@pyproc.expose
def mark(path: str, name: str, seconds: float = 0.0) -> str:
    with open(path, "a") as file:
        file.write(name + "\\n")
    time.sleep(seconds)
    return name
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "marking.py"
    path.write_text(APP)
    return path


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "order")


@pytest.fixture
def pool(app: Path) -> Iterator[Pool]:
    with Pool(app, workers=1, sandbox="none") as pool:
        yield pool


def order(log: str) -> list[str]:
    return Path(log).read_text().split()


def wait_until(log: str, name: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not Path(log).exists() or name not in order(log):
        assert time.monotonic() < deadline, f"{name} never started"
        time.sleep(0.005)


def blocked(pool: Pool, log: str, seconds: float = 0.5) -> Future:
    """A call that runs, so that everything after it waits."""
    future = pool.submit("mark", log, "first", seconds)
    wait_until(log, "first")
    return future


def test_a_higher_priority_is_served_first_and_equals_in_their_order(pool: Pool, log: str) -> None:
    futures = [blocked(pool, log)]
    for priority in (0, 5, -3, 5, 0):
        name = f"{priority}/{len(futures)}"
        futures.append(pool.options(priority=priority).submit("mark", log, name))
    for future in futures:
        future.result(DEADLINE)
    assert order(log) == ["first", "5/2", "5/4", "0/1", "0/5", "-3/3"]


def test_a_high_priority_overtakes_what_was_written_ahead_to_the_worker(
    pool: Pool, log: str
) -> None:
    futures = [pool.submit("mark", log, f"low{i}", 0.05) for i in range(100)]
    wait_until(log, "low0")
    high = pool.options(priority=5).submit("mark", log, "high")
    begun = len(order(log))  # more than one on a machine that is slow; few are written ahead
    high.result(DEADLINE)
    started = order(log).index("high")
    for future in futures:
        future.result(DEADLINE)
    assert started < begun + 3


def test_blocking_calls_and_submitted_ones_stand_in_one_line(pool: Pool, log: str) -> None:
    futures = [blocked(pool, log)]
    futures.append(pool.submit("mark", log, "queued"))
    thread = threading.Thread(
        target=lambda: pool.options(priority=7).call("mark", log, "called"), daemon=True
    )
    thread.start()
    while pool.stats()["calls_waiting"] < 2:
        time.sleep(0.005)
    for future in futures:
        future.result(DEADLINE)
    thread.join(DEADLINE)
    assert order(log) == ["first", "called", "queued"]


def test_a_low_priority_ages_until_it_is_before_a_flood_of_high_ones(app: Path, log: str) -> None:
    with Pool(app, workers=1, priority_step=0.05, sandbox="none") as pool:
        blocked(pool, log, 0.1)
        low = pool.options(priority=-5).submit("mark", log, "low")
        high = pool.options(priority=5)
        flood = [high.submit("mark", log, "high", 0.02) for _ in range(4)]
        deadline = time.monotonic() + DEADLINE
        while not low.done():
            assert time.monotonic() < deadline, "the low call starves"
            flood.append(high.submit("mark", log, "high", 0.02))
            flood[-4].result(DEADLINE)
        behind = sum(not future.done() for future in flood)
        assert behind > 0
        assert order(log).index("low") > 5


def test_with_an_endless_step_a_low_priority_never_ages(app: Path, log: str) -> None:
    with Pool(app, workers=1, priority_step=math.inf, sandbox="none") as pool:
        first = blocked(pool, log)
        low = pool.submit("mark", log, "low")
        time.sleep(0.2)
        high = pool.options(priority=1).submit("mark", log, "high")
        for future in (first, low, high):
            future.result(DEADLINE)
    assert order(log) == ["first", "high", "low"]


@pytest.mark.parametrize("priority", [101, -101])
def test_a_priority_out_of_range_is_refused_with_the_range(pool: Pool, priority: int) -> None:
    with pytest.raises(ValueError, match="-100 to 100"):
        pool.options(priority=priority)


def test_a_priority_that_is_no_number_is_refused(pool: Pool) -> None:
    with pytest.raises(TypeError, match="priority"):
        pool.options(priority="high")  # type: ignore[arg-type]


def test_a_hundred_thousand_waiting_calls_of_many_priorities_all_end_soon(
    app: Path, log: str
) -> None:
    with Pool(app, workers=1, max_queue_bytes=None, sandbox="none") as pool:
        blocked(pool, log, 3)
        levels = [pool.options(priority=level) for level in range(-50, 50)]
        futures = [levels[i % 100].submit("nothing") for i in range(100_000)]
        begin = time.monotonic()
        for future in futures:
            future.exception(DEADLINE)
        assert time.monotonic() - begin < DEADLINE
