"""Async functions in workers: several calls side by side on one worker's event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, errors

APP = Path(__file__).with_name("apps") / "shared_app.py"
DEADLINE = 60.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, max_in_flight=100, sandbox="none") as opened:
        yield opened


def until(said: Any) -> None:
    """Until that is so."""
    deadline = time.monotonic() + DEADLINE
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_hundred_naps_overlap_on_one_worker(pool: Pool) -> None:
    futures = [pool.submit("nap", 1.0) for _ in range(100)]
    most = [future.result(DEADLINE) for future in futures]
    assert max(most) == 100
    assert pool.stats()["workers_started"] == 1


def test_never_more_than_max_in_flight_are_on_a_worker() -> None:
    with Pool(APP, workers=1, max_in_flight=3, sandbox="none") as pool:
        futures = [pool.submit("nap", 0.05) for _ in range(12)]
        assert max(future.result(DEADLINE) for future in futures) == 3


def test_an_idle_worker_is_used_before_a_busy_one_gets_a_second_call() -> None:
    with Pool(APP, min_workers=2, max_workers=2, max_in_flight=50, sandbox="none") as pool:
        until(lambda: pool.stats()["workers_idle"] == 2)
        futures = [pool.submit("nap", 0.5) for _ in range(2)]
        assert [future.result(DEADLINE) for future in futures] == [1, 1]


@pytest.mark.parametrize("number", [0, -1, 1001])
def test_a_number_that_cannot_be_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="max_in_flight=.*from 1 to 1000"):
        Pool(APP, max_in_flight=number, sandbox="none")


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="max_in_flight='2'"):
        Pool(APP, max_in_flight="2", sandbox="none")  # type: ignore[arg-type]


def test_calls_of_every_kind_are_answered(pool: Pool) -> None:
    assert pool.call("add", 1) == 2
    assert pool.call("add", 1, b=5) == 6
    assert list(pool.map("add", range(250))) == list(range(1, 251))
    assert pool.call("plain", 4) == [4, 0]
    with pytest.raises(errors.ValidationError, match="argument 'a'"):
        pool.call("add", "one")
    with pytest.raises(LookupError, match="here"):
        pool.call("raises", "here")
    with pytest.raises(errors.RemoteError, match="SystemExit"):
        pool.submit("leaves").result(DEADLINE)
    assert pool.call("large", 3 * 2**20) == b"x" * (3 * 2**20)
    assert pool.stats()["workers_died"] == 0


def test_threads_that_call_share_the_worker(pool: Pool) -> None:
    most: list[int] = []
    threads = [
        threading.Thread(target=lambda: most.append(pool.call("nap", 1.0))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 20


def test_a_cancelled_call_leaves_its_neighbours(pool: Pool, tmp_path: Path) -> None:
    started, cleaned, go = (tmp_path / name for name in ("started", "cleaned", "go"))
    neighbour = pool.submit("wait_for_file", str(go))
    victim = pool.submit("stubborn", str(started), str(cleaned))
    until(started.exists)
    assert victim.kill()
    with pytest.raises(errors.TaskKilled):
        victim.result(DEADLINE)
    assert cleaned.exists(), "its finally has run"
    go.touch()
    assert neighbour.result(DEADLINE) == "there"
    assert pool.stats()["workers_died"] == 0


def test_a_cancelled_acall_stops_its_task_and_no_other(pool: Pool, tmp_path: Path) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"

    async def main() -> int:
        other = asyncio.ensure_future(pool.acall("nap", 1.0))
        task = asyncio.ensure_future(pool.acall("stubborn", str(started), str(cleaned)))
        while not started.exists():
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not cleaned.exists():
            await asyncio.sleep(0.002)
        return int(await other)

    assert asyncio.run(asyncio.wait_for(main(), DEADLINE)) == 1
    assert pool.stats()["workers_died"] == 0


def test_the_deadline_of_one_is_its_own(pool: Pool, tmp_path: Path) -> None:
    started, cleaned, go = (tmp_path / name for name in ("started", "cleaned", "go"))
    neighbour = pool.submit("wait_for_file", str(go))
    late = pool.options(timeout=0.2).submit("stubborn", str(started), str(cleaned))
    with pytest.raises(errors.TaskTimeout) as caught:
        late.result(DEADLINE)
    assert caught.value.stage == "run"
    assert cleaned.exists() or not started.exists()
    go.touch()
    assert neighbour.result(DEADLINE) == "there"
    assert pool.stats()["workers_died"] == 0


def test_a_call_that_does_not_stop_costs_its_neighbours_which_are_told_whose_fault_it_was(
    pool: Pool,
) -> None:
    neighbours = [pool.submit("nap", 600) for _ in range(3)]
    until(lambda: pool.stats()["calls_waiting"] == 0)
    culprit = pool.options(timeout=0.1).submit("holds_the_loop", 600)
    with pytest.raises(errors.TaskTimeout) as caught:
        culprit.result(DEADLINE)
    assert caught.value.cause == "timeout"
    for neighbour in neighbours:
        with pytest.raises(errors.WorkerKilled, match="call [0-9]+ of 'holds_the_loop'") as told:
            neighbour.result(DEADLINE)
        assert told.value.cause == "neighbour"
        assert told.value.in_flight == 4
    assert pool.call("add", 1) == 2


def test_neighbours_are_tried_again_only_where_the_policy_says_so() -> None:
    retry = pyproc.Retry(max_attempts=3, backoff=0)
    with Pool(
        APP, workers=1, max_in_flight=10, retry=retry, quarantine_after=1, sandbox="none"
    ) as pool:
        neighbour = pool.submit("nap", 1.0)
        until(lambda: pool.stats()["calls_waiting"] == 0)
        culprit = pool.options(timeout=0.1).submit("holds_the_loop", 600)
        with pytest.raises(errors.TaskTimeout):
            culprit.result(DEADLINE)
        assert neighbour.result(DEADLINE) == 1


def test_a_crash_ends_exactly_those_in_flight(pool: Pool) -> None:
    neighbours = [pool.submit("nap", 600) for _ in range(5)]
    until(lambda: pool.stats()["calls_waiting"] == 0)
    for future in [*neighbours, pool.submit("segfault")]:
        with pytest.raises(errors.WorkerCrashed) as caught:
            future.result(DEADLINE)
        assert caught.value.in_flight == 6
    assert pool.call("add", 1) == 2
    assert pool.stats()["workers_died"] == 1


def test_a_crash_in_company_puts_nobody_in_quarantine() -> None:
    with Pool(APP, workers=1, max_in_flight=10, quarantine_after=1, sandbox="none") as pool:
        neighbour = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_waiting"] == 0)
        for future in (pool.submit("segfault"), neighbour):
            with pytest.raises(errors.WorkerCrashed):
                future.result(DEADLINE)
        with pytest.raises(errors.WorkerCrashed):  # alone now: it is its own doing
            pool.submit("segfault").result(DEADLINE)
        with pytest.raises(errors.TaskQuarantined):
            pool.submit("segfault").result(DEADLINE)


def test_a_plain_function_has_the_worker_to_itself_and_its_turn(pool: Pool) -> None:
    before = [pool.submit("nap", 0.2) for _ in range(10)]
    plain = pool.submit("plain", 7)
    after = [pool.submit("nap", 0.05) for _ in range(10)]
    assert plain.result(DEADLINE) == [7, 0]
    assert all(future.done() for future in before), "those before it had ended"
    assert [future.result(DEADLINE) > 0 for future in after] == [True] * 10


def test_plain_calls_are_not_starved_by_a_flood_of_async_ones(pool: Pool) -> None:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            pool.call("nap", 0.02)

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            assert pool.submit("plain", number).result(DEADLINE)[0] == number
            assert pool.call("plain", number)[0] == number
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_each_task_knows_its_own_call(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "who"):
        futures = [pool.options(timeout=50 + at).submit("who", at / 50) for at in range(10)]
        said = [future.result(DEADLINE) for future in futures]
        until(lambda: len([r for r in caplog.records if r.name == "who"]) == 10)
    assert all(one["same"] and one["thread"] and one["task"] for one in said)
    assert {one["function"] for one in said} == {"who"}
    assert len({one["id"] for one in said}) == 10
    assert all(at + 40 < one["left"] <= at + 50 for at, one in enumerate(said))
    for record in caplog.records:
        if record.name == "who":
            assert record.getMessage() == f"of {record.pyproc_call}"  # type: ignore[attr-defined]
    progress = [future.progress() for future in futures]
    assert [p.done for p in progress if p is not None] == [at / 50 for at in range(10)]


def test_what_a_call_leaves_running_ends_with_it(pool: Pool, tmp_path: Path) -> None:
    keeps = pool.submit("nap", 1.0)
    pool.call("leaves_a_task", str(tmp_path / "ended"))
    assert (tmp_path / "ended").exists()
    assert keeps.result(DEADLINE) >= 1


def test_a_worker_that_is_recycled_ends_its_calls_first() -> None:
    with Pool(
        APP, workers=1, max_in_flight=10, recycle=pyproc.Recycle(max_tasks=5), sandbox="none"
    ) as pool:
        futures = [pool.submit("nap", 0.05) for _ in range(20)]
        assert all(future.result(DEADLINE) >= 1 for future in futures)
        assert pool.stats()["workers_started"] >= 4


def test_drain_waits_for_all_that_are_on_a_worker(pool: Pool) -> None:
    futures = [pool.submit("nap", 0.3) for _ in range(10)]
    assert pool.drain(timeout=DEADLINE)
    assert all(future.done() for future in futures)


def test_reload_lets_calls_in_flight_end(pool: Pool) -> None:
    before = pool.call("pid")
    futures = [pool.submit("nap", 0.5) for _ in range(10)]
    pool.reload(timeout=DEADLINE)
    assert all(future.result(DEADLINE) >= 1 for future in futures)
    assert pool.call("pid") != before


def test_a_call_with_a_limit_of_its_own_has_a_worker_to_itself(pool: Pool) -> None:
    futures = [pool.options(cpu_time=30).submit("nap", 0.02) for _ in range(5)]
    assert max(future.result(DEADLINE) for future in futures) == 1


def test_processor_time_without_an_answer_is_limited() -> None:
    limits = pyproc.Limits(cpu_time=0.3)
    with Pool(APP, workers=1, max_in_flight=10, limits=limits, sandbox="none") as pool:
        assert [f.result(DEADLINE) for f in [pool.submit("add", 1) for _ in range(50)]] == [2] * 50
        with pytest.raises(errors.CPUTimeExceeded):
            pool.submit("spins").result(DEADLINE)
