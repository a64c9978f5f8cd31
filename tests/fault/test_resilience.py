"""Repeated failures: retries, quarantine, circuit breakers, and what the pool tells of them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import (
    Breaker,
    CircuitOpen,
    Event,
    Pool,
    Retry,
    TaskQuarantined,
    WorkerCrashed,
    WorkerKilled,
)

APP = Path(__file__).parent / "apps" / "flaky.py"
DEADLINE = 60.0


def _call(pool: Any, name: str, *args: Any) -> Any:
    return pool.call(name, *args)


def _submit(pool: Any, name: str, *args: Any) -> Any:
    return pool.submit(name, *args).result(DEADLINE)


def _acall(pool: Any, name: str, *args: Any) -> Any:
    async def main() -> Any:
        return await pool.acall(name, *args)

    return asyncio.run(main())


def _map(pool: Any, name: str, *args: Any) -> Any:
    return next(pool.map(name, [args[0]]))


Way = Callable[..., Any]
every_way = pytest.mark.parametrize("way", [_call, _submit, _acall, _map])


@pytest.fixture(name="pool")
def plain() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


def attempts(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


# ---- retries ----


@every_way
def test_without_a_retry_a_call_is_made_once(pool: Pool, tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    with pytest.raises(WorkerCrashed):
        way(pool, "crash_twice", str(log))
    assert attempts(log) == 1


@every_way
def test_a_call_that_crashes_is_made_again(tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    with Pool(APP, workers=1, retry=Retry(max_attempts=3), sandbox="none") as pool:
        assert way(pool, "crash_twice", str(log)) == "done"
        assert pool.stats()["calls_retried"] == 2
    assert attempts(log) == 3


@every_way
def test_the_last_failure_is_the_callers(tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    with (
        Pool(APP, workers=1, retry=Retry(max_attempts=2), sandbox="none") as pool,
        pytest.raises(WorkerCrashed),
    ):
        way(pool, "crash_twice", str(log))
    assert attempts(log) == 2


@pytest.mark.parametrize("way", [_call, _submit, _acall])
def test_an_exception_is_no_crash(tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    with (
        Pool(APP, workers=1, retry=Retry(max_attempts=3), sandbox="none") as pool,
        pytest.raises(ConnectionError),
    ):
        way(pool, "raise_twice", str(log))
    assert attempts(log) == 1


@pytest.mark.parametrize("way", [_call, _submit, _acall])
def test_exceptions_are_tried_again_by_name(tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    retry = Retry(max_attempts=3, on_crash=False, on_exceptions=("ConnectionError",))
    with Pool(APP, workers=1, sandbox="none") as pool:
        assert way(pool.options(retry=retry), "raise_twice", str(log)) == "done"
    assert attempts(log) == 3


def test_retries_have_a_budget() -> None:
    retry = Retry(max_attempts=2, backoff=0, budget=0)
    with Pool(APP, workers=1, retry=retry, quarantine_after=None, sandbox="none") as pool:
        for _ in range(20):
            with pytest.raises(WorkerCrashed):
                pool.call("crash", 1)
        assert pool.stats()["calls_retried"] == 10


def test_a_future_that_waits_for_its_next_attempt_can_be_cancelled(tmp_path: Path) -> None:
    log = tmp_path / "log"
    retry = Retry(max_attempts=3, backoff=30, max_backoff=30, jitter=0)
    with Pool(APP, workers=1, retry=retry, sandbox="none") as pool:
        future = pool.submit("crash_twice", str(log))
        limit = time.monotonic() + DEADLINE
        while pool.stats()["calls_retried"] == 0 and time.monotonic() < limit:
            time.sleep(0.01)
        assert future.cancel()
        assert future.cancelled()
    assert attempts(log) == 1


# ---- quarantine ----


@every_way
def test_a_request_that_ends_workers_is_refused(way: Way) -> None:
    with Pool(APP, workers=1, quarantine_after=2, sandbox="none") as pool:
        for _ in range(2):
            with pytest.raises(WorkerCrashed):
                way(pool, "crash", 7)
        died = pool.stats()["workers_died"]
        with pytest.raises(TaskQuarantined) as caught:
            way(pool, "crash", 7)
        assert caught.value.function == "crash"
        assert caught.value.deaths == 2
        assert pool.stats()["workers_died"] == died


def test_the_same_request_is_the_same_in_whichever_way_it_comes() -> None:
    with Pool(APP, workers=1, quarantine_after=3, sandbox="none") as pool:
        for way in (_call, _submit, _map):
            with pytest.raises(WorkerCrashed):
                way(pool, "crash", 7)
        with pytest.raises(TaskQuarantined):
            _acall(pool, "crash", 7)


def test_other_arguments_and_other_functions_are_other_requests() -> None:
    with Pool(APP, workers=1, quarantine_after=1, sandbox="none") as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 7)
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 8)
        assert pool.call("echo", 7) == 7
        assert list(pool.map("echo", [7, 8])) == [7, 8]


def test_a_quarantined_item_does_not_harm_its_map() -> None:
    with Pool(APP, workers=1, quarantine_after=1, sandbox="none") as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("crash_at_seven", 7)
        results = list(pool.map("crash_at_seven", range(10), return_exceptions=True))
        assert isinstance(results.pop(7), TaskQuarantined)
        assert results == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_a_request_can_be_released() -> None:
    with Pool(APP, workers=1, quarantine_after=1, sandbox="none") as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 7)
        assert [entry[:2] for entry in pool.quarantine()] == [("crash", 1)]
        assert pool.release("crash") == 1
        assert pool.quarantine() == []
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 7)


def test_quarantine_can_be_switched_off() -> None:
    with Pool(APP, workers=1, quarantine_after=None, sandbox="none") as pool:
        for _ in range(6):
            with pytest.raises(WorkerCrashed):
                pool.call("crash", 7)


def test_a_worker_killed_with_its_keeper_speaks_against_nobody() -> None:
    with Pool(APP, workers=1, quarantine_after=1, sandbox="none") as pool:
        future = pool.submit("nap", 60)
        time.sleep(0.3)
        os.kill(pool._core.keeper_pid(), signal.SIGKILL)
        with pytest.raises(WorkerKilled):
            future.result(DEADLINE)
        assert pool.quarantine() == []
        assert pool.call("nap", 0) == 0


# ---- breaker ----


@every_way
def test_a_function_that_ends_workers_is_not_called_for_a_while(way: Way) -> None:
    with Pool(APP, workers=1, breaker=Breaker(failures=3, cooldown=60), sandbox="none") as pool:
        for number in range(3):
            with pytest.raises(WorkerCrashed):
                way(pool, "crash", number)
        with pytest.raises(CircuitOpen, match="tried again in") as caught:
            way(pool, "crash", 99)
        assert 0 < caught.value.retry_after <= 60
        assert pool.breakers() == {"crash": "open"}
        assert way(pool, "echo", 1) == 1


@pytest.mark.parametrize("way", [_call, _submit, _acall])
def test_a_circuit_is_closed_by_one_good_call(tmp_path: Path, way: Way) -> None:
    log = tmp_path / "log"
    with Pool(APP, workers=1, breaker=Breaker(failures=2, cooldown=0.3), sandbox="none") as pool:
        for _ in range(2):
            with pytest.raises(WorkerCrashed):
                way(pool, "crash_twice", str(log))
        time.sleep(0.35)
        assert pool.breakers() == {"crash_twice": "half-open"}
        assert way(pool, "crash_twice", str(log)) == "done"
        assert pool.breakers() == {}


def test_a_circuit_opens_again_when_the_probe_fails() -> None:
    with Pool(APP, workers=1, breaker=Breaker(failures=2, cooldown=0.3), sandbox="none") as pool:
        for number in range(2):
            with pytest.raises(WorkerCrashed):
                pool.call("crash", number)
        time.sleep(0.35)
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 3)
        with pytest.raises(CircuitOpen):
            pool.call("crash", 4)


def test_exceptions_do_not_open_a_circuit(tmp_path: Path) -> None:
    with Pool(APP, workers=1, breaker=Breaker(failures=1), sandbox="none") as pool:
        for number in range(2):
            with pytest.raises(ConnectionError):
                pool.call("raise_twice", str(tmp_path / str(number)))
        assert pool.breakers() == {}


# ---- what the pool tells ----


def kinds(pool: Pool) -> list[str]:
    return [event.kind for event in pool.events()]


def wait_for(pool: Pool, kind: str) -> Event:
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        for event in pool.events():
            if event.kind == kind:
                return event
        time.sleep(0.01)
    raise AssertionError(f"no {kind} among {kinds(pool)}")


def test_a_workers_life_is_told(pool: Pool) -> None:
    ready = wait_for(pool, "ready")
    assert ready.pid == pool.workers()[0].pid
    with pytest.raises(WorkerCrashed):
        pool.call("crash", 1)
    death = wait_for(pool, "death")
    assert (death.pid, death.worker_id) == (ready.pid, ready.worker_id)
    assert "signal 11" in death.detail
    assert abs(death.time - time.time()) < DEADLINE
    assert kinds(pool)[:4] == ["template_start", "start", "ready", "death"]


def test_each_event_is_given_to_who_asked() -> None:
    seen: list[Event] = []
    with Pool(APP, workers=1, on_event=seen.append, sandbox="none") as pool:
        pool.call("echo", 1)
    assert {"start", "ready"} <= {event.kind for event in seen}


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise ValueError(event.kind)

    with Pool(APP, workers=1, on_event=fail, sandbox="none") as pool:
        assert pool.submit("echo", 1).result(DEADLINE) == 1
    assert "on_event failed" in caplog.text
    caplog.clear()  # its records hold the frames of the delivery thread


def test_quarantine_and_breaker_are_told() -> None:
    with Pool(
        APP, workers=1, quarantine_after=1, breaker=Breaker(failures=1), sandbox="none"
    ) as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 1)
        assert {"quarantine", "breaker"} <= set(kinds(pool))


def test_a_pool_that_serves_is_healthy(pool: Pool) -> None:
    health = pool.health()
    assert (health.status, bool(health)) == ("ok", True)
    assert health.ready == 1
    pool.close()
    assert not pool.health()


def test_troubles_degrade_the_health() -> None:
    with Pool(APP, workers=2, breaker=Breaker(failures=1), sandbox="none") as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("crash", 1)
        health = pool.health()
        assert health.status == "degraded"
        assert health.open_breakers == ("crash",)


# ---- stopped workers ----


@pytest.mark.parametrize("way", [_call, _submit])
def test_a_call_whose_worker_stops_ends_without_any_time_limit(pool: Pool, way: Way) -> None:
    with pytest.raises(WorkerKilled) as caught:
        way(pool, "stop")
    assert caught.value.cause == "stopped"
    assert "stopped" in (caught.value.python_stack_missing or "")
    assert pool.call("echo", 1) == 1


@pytest.mark.parametrize("way", [_call, _submit])
def test_a_call_to_a_worker_that_was_stopped_while_idle_goes_to_another(
    pool: Pool, way: Way
) -> None:
    os.kill(pool.workers()[0].pid, signal.SIGSTOP)
    assert way(pool, "echo", 5) == 5


# ---- options ----


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Retry(max_attempts=0), ValueError, "max_attempts"),
        (lambda: Retry(max_attempts=1.5), TypeError, "max_attempts"),  # type: ignore[arg-type]
        (lambda: Retry(on_exceptions="Oops"), TypeError, "on_exceptions"),  # type: ignore[arg-type]
        (lambda: Retry(jitter=2), ValueError, "jitter"),
        (lambda: Breaker(failures=0), ValueError, "failures"),
        (lambda: Breaker(cooldown=0), ValueError, "cooldown"),
        (lambda: Pool(APP, quarantine_after=0), ValueError, "quarantine_after"),
        (lambda: Pool(APP, retry=3), TypeError, "Retry"),  # type: ignore[arg-type]
        (lambda: Pool(APP, breaker=3), TypeError, "Breaker"),  # type: ignore[arg-type]
        (lambda: Pool(APP, on_event=3), TypeError, "on_event"),  # type: ignore[arg-type]
    ],
)
def test_bad_options_are_refused_by_name(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make()
