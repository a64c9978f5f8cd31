"""options(key=): calls of one key go to one worker, in order, and to another one after its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import eventually

import pyproc
from pyproc import Pool, Recycle
from pyproc.calls import Calls

APP = Path(__file__).with_name("apps") / "keyed_app.py"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=3, sandbox="none") as it:
        yield it


def spread(pool: Pool, keys: int = 6) -> tuple[list[Calls], list[int]]:
    """Calls of some keys, and the pid that each has found."""
    calls = [pool.options(key=f"user {number}") for number in range(keys)]
    return calls, [one.call("pid") for one in calls]


def test_all_calls_of_a_key_go_to_one_worker_and_keys_to_all_workers(pool: Pool) -> None:
    calls, pids = spread(pool)
    assert len(set(pids)) == 3

    async def awaited(one: Calls) -> int:
        return int(await one.acall("pid"))

    for one, pid in zip(calls, pids, strict=True):
        assert one.call("pid") == pid
        assert one.submit("pid").result(60) == pid
        assert asyncio.run(awaited(one)) == pid
        assert set(one.stream("count", 3)) == {pid}
    assert pool.stats()["keys"] == 6
    assert sum(worker.keys for worker in pool.workers()) == 6


def test_calls_of_a_key_are_made_in_order_whatever_else_there_is_to_do(pool: Pool) -> None:
    def others() -> None:
        for _ in range(200):
            pool.call("pid")

    threads = [threading.Thread(target=others) for _ in range(3)]
    for thread in threads:
        thread.start()
    mine = pool.options(key="mine")
    futures = [mine.submit("add", number) for number in range(200)]
    assert futures[-1].result(120) == list(range(200))
    for thread in threads:
        thread.join(120)


def test_a_key_whose_worker_is_busy_waits_and_others_do_not(pool: Pool, tmp_path: Path) -> None:
    mine = pool.options(key="mine")
    running = mine.submit("until", str(tmp_path / "go"))
    waiting = mine.submit("pid")
    assert pool.call("pid") > 0
    assert pool.options(key="yours").call("pid") > 0
    assert not waiting.done()
    with pytest.raises(pyproc.TaskTimeout) as caught:
        pool.options(key="mine", queue_timeout=0.05).call("pid")
    assert caught.value.stage == "queue"
    (tmp_path / "go").touch()
    assert waiting.result(60) == running.result(60)


def test_a_call_of_a_key_that_was_cancelled_holds_nobody_up(pool: Pool, tmp_path: Path) -> None:
    mine = pool.options(key="mine")
    running = mine.submit("until", str(tmp_path / "go"))
    waiting = [mine.submit("pid") for _ in range(3)]
    assert all(future.cancel() for future in waiting)
    (tmp_path / "go").touch()
    running.result(60)
    assert eventually(lambda: pool.stats()["calls_waiting"] == 0)
    assert {pool.call("pid") for _ in range(20)} <= {worker.pid for worker in pool.workers()}


def test_after_a_crash_a_key_goes_to_another_worker_with_what_waited_in_order(pool: Pool) -> None:
    mine = pool.options(key="mine")
    before = mine.call("pid")
    dying = mine.submit("die")
    after = [mine.submit("add", number) for number in range(20)]
    with pytest.raises(pyproc.WorkerCrashed):
        dying.result(60)
    assert after[-1].result(60)[-20:] == list(range(20))
    assert mine.call("pid") != before


def test_a_key_outlives_the_recycling_of_its_worker() -> None:
    with Pool(APP, workers=2, recycle=Recycle(max_tasks=3), sandbox="none") as pool:
        mine = pool.options(key="mine")
        pids = [mine.call("pid") for _ in range(20)]
        assert len(set(pids)) >= 6
        assert [future.result(60) > 0 for future in [mine.submit("pid") for _ in range(20)]]


def test_one_worker_serves_keys_and_others_in_turn() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        stop = threading.Event()

        def busy() -> None:
            mine = pool.options(key="mine")
            while not stop.is_set():
                for future in [mine.submit("pid") for _ in range(10)]:
                    future.result(60)

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for number in range(20):
                assert pool.call("pid") > 0
                assert pool.options(key=number).call("pid") > 0
        finally:
            stop.set()
            thread.join(120)


def test_the_table_of_keys_is_bounded(pool: Pool) -> None:
    for number in range(10_500):
        pool.options(key=number).call("pid")
    assert pool.stats()["keys"] == 10_000


def test_a_call_inside_a_call_on_the_same_key_is_refused_at_once(tmp_path: Path) -> None:
    """A signal handler that comes while its thread waits for the very worker that it asks for."""
    import os
    import signal

    seen: list[BaseException] = []
    with Pool(APP, workers=2, sandbox="none") as pool:
        mine = pool.options(key="mine")
        mine.call("pid")

        def handler(_number: int, _frame: object) -> None:
            try:
                mine.call("pid")
            except pyproc.Error as error:
                seen.append(error)
            (tmp_path / "go").touch()

        before = signal.signal(signal.SIGUSR1, handler)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        try:
            timer.start()
            mine.call("until", str(tmp_path / "go"))
        finally:
            timer.join(60)
            signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 1
    assert "inside a call" in str(seen[0])


def test_closing_ends_what_waits_for_a_key(tmp_path: Path) -> None:
    with Pool(APP, workers=2, sandbox="none") as pool:
        mine = pool.options(key="mine")
        running = mine.submit("until", str(tmp_path / "never"))
        waiting = [mine.submit("pid") for _ in range(5)]
        pool.close(0)
    for future in [running, *waiting]:
        with pytest.raises(pyproc.PoolClosed):
            future.result(60)
