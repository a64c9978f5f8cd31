"""Calls that are asked to stop before they are stopped, and time limits of both kinds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Pool, TaskKilled, TaskTimeout, Timeouts, errors

APP = Path(__file__).parent / "apps" / "stopping.py"
DEADLINE = 60.0


@pytest.fixture(name="patient", scope="module")
def with_grace() -> Iterator[Pool]:
    with Pool(APP, workers=1, timeouts=Timeouts(grace=20), sandbox="none") as opened:
        yield opened


@pytest.fixture(name="pool", scope="module")
def without_grace() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


@pytest.fixture(autouse=True)
def settled(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in ("patient", "pool"):
        if name in request.fixturenames:
            assert isinstance(request.getfixturevalue(name).call("pid"), int)


@pytest.mark.parametrize("function", ["nap", "doze"])
def test_a_deadline_lets_the_function_clean_up(
    patient: Pool, tmp_path: Path, function: str
) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(TaskTimeout, match="cleanup ended") as caught:
        patient.options(timeout=0.3).call(function, 60, str(mark))
    assert caught.value.stage == "run"
    assert mark.read_text() == "cleaned"


@pytest.mark.parametrize("function", ["nap", "doze"])
def test_a_killed_future_lets_the_function_clean_up(
    patient: Pool, tmp_path: Path, function: str
) -> None:
    mark = tmp_path / "mark"
    future = patient.submit(function, 60, str(mark))
    time.sleep(0.3)
    assert future.kill()
    with pytest.raises(TaskKilled, match="cleanup ended"):
        future.result(DEADLINE)
    assert mark.read_text() == "cleaned"


def test_a_cancelled_awaiting_task_lets_the_function_clean_up(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def main() -> None:
        async with Pool(APP, workers=1, timeouts=Timeouts(grace=20), sandbox="none") as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await pool.acall("nap", 60, str(mark))
            await pool.acall("pid")  # the only worker is free again

    asyncio.run(main())
    assert mark.read_text() == "cleaned"


def test_a_worker_that_stops_by_itself_lives_on(patient: Pool) -> None:
    before = patient.call("pid")
    with pytest.raises(TaskTimeout):
        patient.options(timeout=0.2).call("nap", 60)
    assert patient.call("pid") == before


def test_a_function_may_catch_the_request_and_answer(patient: Pool) -> None:
    assert patient.options(timeout=0.2).call("catch", 60) == "in time"


def test_the_request_never_hits_the_next_call(patient: Pool) -> None:
    for seconds in (0.001, 0.002, 0.004, 0.008) * 10:
        try:
            patient.options(timeout=0.004).call("nap", seconds)
        except TaskTimeout:
            pass
        assert patient.call("nap", 0.001) == 0.001


def test_a_function_can_poll_for_the_request(patient: Pool) -> None:
    assert patient.options(timeout=0.2).call("poll_until_cancelled") == "saw it"


@pytest.mark.parametrize("function", ["swallow", "hold_the_gil"])
def test_who_does_not_stop_is_stopped_after_the_grace_period(function: str) -> None:
    with Pool(APP, workers=1, timeouts=Timeouts(task=0.2, grace=0.5), sandbox="none") as pool:
        started = time.monotonic()
        with pytest.raises(TaskTimeout) as caught:
            pool.call(function)
        assert 0.6 < time.monotonic() - started < 10
        assert caught.value.signal == 9
        assert killed_with_stack(TaskTimeout, lambda: pool.call(function)).python_stack


def test_without_grace_nothing_is_asked(pool: Pool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(TaskTimeout):
        pool.options(timeout=0.2).call("nap", 60, str(mark))
    assert not mark.exists()


def test_a_deadline_counts_waiting_and_running_together(pool: Pool) -> None:
    started = time.monotonic()
    with pytest.raises(TaskTimeout) as caught:
        pool.options(deadline=started + 0.3).call("nap", 60)
    assert caught.value.stage == "run"
    assert 0.25 < time.monotonic() - started < 10


@pytest.mark.parametrize("way", ["call", "submit"])
def test_work_whose_deadline_has_passed_never_starts(pool: Pool, tmp_path: Path, way: str) -> None:
    mark = tmp_path / "mark"
    late = pool.options(deadline=time.monotonic() - 1)
    with pytest.raises(TaskTimeout) as caught:
        if way == "call":
            late.call("nap", 0, str(mark))
        else:
            late.submit("nap", 0, str(mark)).result(DEADLINE)
    assert caught.value.stage == "queue"
    assert not mark.exists()


@pytest.mark.parametrize("limit", ["queue_timeout", "deadline"])
def test_work_that_waits_too_long_never_starts(pool: Pool, tmp_path: Path, limit: str) -> None:
    mark = tmp_path / "mark"
    running = pool.submit("nap", 1)
    value = 0.2 if limit == "queue_timeout" else time.monotonic() + 0.2
    options: dict[str, Any] = {limit: value}
    waiting = pool.options(**options).submit("nap", 0, str(mark))
    with pytest.raises(TaskTimeout) as caught:
        waiting.result(DEADLINE)
    assert caught.value.stage == "queue"
    assert not running.done()
    assert running.result(DEADLINE) == 1
    assert not mark.exists()


@pytest.mark.parametrize("way", ["call", "submit"])
def test_the_remaining_time_travels_to_the_worker(pool: Pool, way: str) -> None:
    ends = time.monotonic() + 30
    options = pool.options(deadline=ends, timeout=100)
    facts = options.call("facts") if way == "call" else options.submit("facts").result(DEADLINE)
    assert facts["deadline"] == pytest.approx(ends, abs=1)
    assert facts["remaining"] == pytest.approx(30, abs=5)
    assert facts["function"] == "facts"
    assert facts["cancelled"] is False


def test_without_limits_there_is_no_deadline(pool: Pool) -> None:
    facts = pool.call("facts")
    assert facts["deadline"] is None
    assert facts["remaining"] is None


def test_the_call_id_of_an_error_is_the_one_that_the_function_saw(pool: Pool) -> None:
    number = pool.submit("facts").result(DEADLINE)["call_id"]
    failed = pool.submit("die", 9)
    error = failed.exception(DEADLINE)
    assert isinstance(error, errors.WorkerKilled)
    assert error.call_id is not None
    assert error.call_id > number


def test_control_is_back_soon_after_the_deadline(pool: Pool) -> None:
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        pool.options(timeout=0.5).call("hold_the_gil")
    assert time.monotonic() - started < 2


def test_current_outside_of_a_worker_says_so() -> None:
    import pyproc

    with pytest.raises(pyproc.Error, match="run in a worker"):
        pyproc.current()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"grace": -1}, ValueError, "grace"),
        ({"grace": "2"}, TypeError, "grace"),
        ({"grace": float("inf")}, ValueError, "grace"),
    ],
)
def test_a_bad_grace_is_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Timeouts(**options)


@pytest.mark.parametrize(("deadline", "error"), [("soon", TypeError), (-1.0, ValueError)])
def test_a_bad_deadline_is_refused(pool: Pool, deadline: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="deadline"):
        pool.options(deadline=deadline)


def test_threads_share_a_deadline(pool: Pool) -> None:
    ends = time.monotonic() + 0.5
    errors_: list[BaseException | None] = []

    def run() -> None:
        try:
            pool.options(deadline=ends).call("nap", 60)
        except TaskTimeout as error:
            errors_.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(errors_) == 4
    assert time.monotonic() - ends < 10
