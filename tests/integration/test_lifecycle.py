"""Workers come and go while the pool is open: recycling, stock, shrinking, resizing, draining."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Limits, Pool, Recycle

DEADLINE = 30.0
APP = """
import os, time
import pyproc

held = []

@pyproc.expose
def pid() -> int:
    return os.getpid()

@pyproc.expose
def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()

@pyproc.expose
def double(x: int) -> list[int]:
    return [2 * x, os.getpid()]

@pyproc.expose
def hold(size: int) -> int:
    held.append(b"x" * size)
    return os.getpid()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "living.py"
    path.write_text(APP)
    return path


@pytest.fixture(params=["template", "exec"])
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def fill(pool: Pool, workers: int) -> None:
    """Starts that many workers by keeping them busy."""
    futures = [pool.submit("nap", 0.2) for _ in range(2 * workers)]
    for future in futures:
        future.result(DEADLINE)
    wait_for(lambda: len(pool.workers()) == workers, "the workers were not started")


def test_with_one_task_each_every_call_has_a_process_of_its_own(app: Path, method: Any) -> None:
    with Pool(
        app, workers=2, start_method=method, recycle=Recycle(max_tasks=1), sandbox="none"
    ) as pool:
        called = [pool.call("pid") for _ in range(10)]
        futures = [pool.submit("pid") for _ in range(10)]
        mapped = [pid for _, pid in pool.map("double", range(10), chunksize=5)]
        pids = called + [future.result(DEADLINE) for future in futures] + mapped
        assert len(set(pids)) == 30


def test_a_stock_of_fresh_workers_is_kept_ready(app: Path) -> None:
    with Pool(app, workers=3, recycle=Recycle(max_tasks=1), sandbox="none") as pool:
        wait_for(lambda: pool.stats()["workers_idle"] >= 3, "there is no stock")
        pool.call("pid")
        wait_for(lambda: pool.stats()["workers_idle"] >= 3, "the stock was not filled up again")


def test_never_more_calls_run_at_once_than_there_may_be_workers(app: Path) -> None:
    with Pool(app, workers=2, recycle=Recycle(max_tasks=1), sandbox="none") as pool:
        futures = [pool.submit("nap", 0.1) for _ in range(10)]
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, pool.stats()["workers_busy"])
        assert most == 2


def test_few_tasks_are_counted_exactly(app: Path, method: Any) -> None:
    with Pool(
        app, workers=1, start_method=method, recycle=Recycle(max_tasks=4), sandbox="none"
    ) as pool:
        counts = Counter(pool.call("pid") for _ in range(20))
    assert set(counts.values()) == {4}


def test_many_tasks_are_never_more_than_twice_the_number(app: Path) -> None:
    with Pool(app, workers=2, recycle=Recycle(max_tasks=50), sandbox="none") as pool:
        counts = Counter(pool.call("pid") for _ in range(1000))
        assert pool.stats()["workers_recycled"] >= 5
    assert max(counts.values()) <= 100


def test_items_of_a_map_are_counted_one_by_one(app: Path) -> None:
    with Pool(app, workers=1, recycle=Recycle(max_tasks=40, jitter=0), sandbox="none") as pool:
        results = list(pool.map("double", range(400)))
    assert [value for value, _ in results] == [2 * x for x in range(400)]
    assert max(Counter(pid for _, pid in results).values()) < 80 + 5


def test_a_worker_that_is_due_serves_until_its_replacement_is_ready(app: Path) -> None:
    with Pool(
        app, workers=1, start_method="exec", recycle=Recycle(max_age=0.3), sandbox="none"
    ) as pool:
        first = pool.call("pid")
        slowest, pid = 0.0, first
        while pid == first:
            begin = time.monotonic()
            pid = pool.call("pid")
            slowest = max(slowest, time.monotonic() - begin)
        launch = pool.workers()[-1].age
        assert slowest < max(launch, 0.03)


def test_an_idle_worker_is_replaced_when_its_time_has_come(app: Path) -> None:
    with Pool(app, workers=1, recycle=Recycle(max_age=0.2), sandbox="none") as pool:
        first = pool.call("pid")
        wait_for(lambda: pool.stats()["workers_recycled"] >= 1, "nobody was replaced")
        assert pool.call("pid") != first


def test_a_worker_that_holds_too_much_memory_is_replaced(app: Path, method: Any) -> None:
    with Pool(
        app, workers=1, start_method=method, recycle=Recycle(max_memory="120MiB"), sandbox="none"
    ) as pool:
        first = pool.call("hold", 1)
        time.sleep(0.1)
        assert pool.call("hold", 1) == first
        assert pool.call("hold", 150 * 2**20) == first
        wait_for(lambda: pool.stats()["workers_recycled"] == 1, "the large one stays")
        assert pool.call("pid") != first


def test_workers_started_together_are_not_replaced_together(app: Path) -> None:
    with Pool(app, workers=4, recycle=Recycle(max_age=2.0, jitter=0.9), sandbox="none") as pool:
        fill(pool, 4)
        ends: list[float] = []
        while len(ends) < 4:
            recycled = pool.stats()["workers_recycled"]
            if recycled > len(ends):
                ends += [time.monotonic()] * (recycled - len(ends))
            time.sleep(0.002)
    assert len(set(ends)) > 1


def test_idle_workers_above_the_minimum_leave(app: Path) -> None:
    with Pool(app, min_workers=2, max_workers=4, idle_timeout=0.3, sandbox="none") as pool:
        fill(pool, 4)
        wait_for(lambda: len(pool.workers()) == 2, "they did not leave")
        assert pool.stats()["workers_retired_idle"] == 2
        time.sleep(0.5)
        assert len(pool.workers()) == 2


def test_a_pool_with_a_fixed_number_keeps_its_workers(app: Path) -> None:
    with Pool(app, workers=3, sandbox="none") as pool:
        fill(pool, 3)
        assert pool._core.stats()["workers_retired_idle"] == 0
    with Pool(app, min_workers=1, max_workers=3, idle_timeout=None, sandbox="none") as pool:
        fill(pool, 3)


def test_an_idle_pool_at_its_minimum_is_not_woken(app: Path) -> None:
    recycle = Recycle(max_tasks=1000, max_memory="1GiB")
    with Pool(
        app, min_workers=1, max_workers=4, idle_timeout=0.2, recycle=recycle, sandbox="none"
    ) as pool:
        fill(pool, 4)
        wait_for(lambda: len(pool.workers()) == 1, "they did not leave")
        before = switches()
        time.sleep(1.5)
        assert switches() - before <= 1


def switches() -> int:
    """Times that a thread of the core has slept and woken up, of all that live."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("pyproc-loop"):
            status = (task / "status").read_text()
            total += int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
    return total


def test_resize_adds_workers_for_calls_that_wait(app: Path) -> None:
    with Pool(app, workers=1, sandbox="none") as pool:
        futures = [pool.submit("nap", 1.0) for _ in range(4)]
        pool.resize(4)
        assert len({future.result(DEADLINE) for future in futures}) > 1


def test_resize_below_the_busy_ones_loses_no_call(app: Path) -> None:
    with Pool(app, workers=4, sandbox="none") as pool:
        fill(pool, 4)
        futures = [pool.submit("nap", 0.3) for _ in range(12)]
        thread = threading.Thread(target=lambda: pool.call("nap", 0.3), daemon=True)
        thread.start()
        wait_for(lambda: pool.stats()["workers_busy"] == 4, "they are not busy")
        pool.resize(1)
        assert len({future.result(DEADLINE) for future in futures}) >= 4
        thread.join(DEADLINE)
        wait_for(lambda: len(pool.workers()) == 1, "too many are left")
        assert pool.call("pid") == pool.workers()[0].pid


def test_resize_raises_the_minimum_at_once(app: Path) -> None:
    with Pool(app, workers=4, sandbox="none") as pool:
        pool.resize(min_workers=3)
        wait_for(lambda: pool.stats()["workers_idle"] == 3, "the minimum was not started")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"workers": 2, "max_workers": 2}, ValueError),
        ({"min_workers": 5}, ValueError),
        ({"workers": 0}, ValueError),
        ({"workers": 1.5}, TypeError),
    ],
)
def test_a_wrong_resize_is_refused_by_name(
    app: Path, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with Pool(app, workers=2, sandbox="none") as pool, pytest.raises(error, match="workers"):
        pool.resize(**arguments)


def test_drain_refuses_new_calls_and_answers_whether_all_have_ended(app: Path) -> None:
    with Pool(app, workers=1, sandbox="none") as pool:
        future = pool.submit("nap", 0.6)
        assert pool.drain(timeout=0.1) is False
        with pytest.raises(pyproc.PoolClosed):
            pool.call("pid")
        with pytest.raises(pyproc.PoolClosed):
            pool.submit("pid")
        assert pool.drain() is True
        assert future.done()


def test_workers_tell_their_generation_age_and_memory(app: Path) -> None:
    with Pool(app, workers=1, sandbox="none") as pool:
        pid = pool.call("pid")
        (info,) = pool.workers()
        assert (info.pid, info.generation, info.state, info.tasks_done) == (pid, 1, "ready", 1)
        assert 2**20 < info.rss < 2**30
        assert 0 < info.age < DEADLINE


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("max_tasks", 0, ValueError),
        ("max_tasks", 1.5, TypeError),
        ("max_memory", "lots", ValueError),
        ("max_memory", 0, ValueError),
        ("max_age", 0, ValueError),
        ("max_age", "1h", TypeError),
        ("jitter", 1, ValueError),
        ("jitter", -0.1, ValueError),
        ("jitter", "much", TypeError),
    ],
)
def test_a_wrong_recycle_is_refused_by_name(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        Recycle(**{field: value})


def test_a_recycle_above_the_memory_limit_is_refused(app: Path) -> None:
    with pytest.raises(ValueError, match="max_memory"):
        Pool(
            app,
            limits=Limits(memory="100MiB"),
            recycle=Recycle(max_memory="100MiB"),
            sandbox="none",
        )


def test_calls_and_cancels_while_every_process_is_used_once(app: Path) -> None:
    with Pool(app, workers=4, recycle=Recycle(max_tasks=1), sandbox="none") as pool:
        futures = [pool.submit("nap", 0.02) for _ in range(60)]
        for future in futures[::3]:
            future.kill()
        for future in futures[1::3]:
            future.cancel()
        for future in futures[2::3]:
            assert future.result(DEADLINE) > 0
        assert pool.call("pid") > 0
    assert all(future.done() for future in futures)


def test_closing_while_a_stock_is_being_filled_ends_everything(app: Path, method: Any) -> None:
    for _ in range(10):
        with Pool(
            app, workers=4, start_method=method, recycle=Recycle(max_tasks=1), sandbox="none"
        ) as pool:
            for _ in range(3):
                pool.call("pid")


def test_after_a_drain_every_future_is_done(app: Path) -> None:
    with Pool(app, workers=2, sandbox="none") as pool:
        futures = [pool.submit("pid") for _ in range(2000)]
        assert pool.drain(DEADLINE)
        assert all(future.done() for future in futures)


def test_a_drain_in_a_callback_does_not_wait_for_itself(app: Path) -> None:
    answers: list[bool] = []
    with Pool(app, workers=1, sandbox="none") as pool:
        future = pool.submit("nap", 0.1)
        future.add_done_callback(lambda _: answers.append(pool.drain(DEADLINE)))
    assert answers == [True]


def test_an_expired_drain_leaves_the_calls_running(app: Path) -> None:
    with Pool(app, workers=1, sandbox="none") as pool:
        future = pool.submit("nap", 0.5)
        assert not pool.drain(0)
        assert future.result(DEADLINE) > 0


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("soon", TypeError)])
def test_a_wrong_drain_is_refused(app: Path, timeout: Any, error: type[Exception]) -> None:
    with Pool(app, workers=1, sandbox="none") as pool, pytest.raises(error, match="timeout"):
        pool.drain(timeout)
