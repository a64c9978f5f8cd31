"""Calls, futures and what a pool says about itself."""

from __future__ import annotations

import concurrent.futures
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, PoolClosed, QueueFull, TaskKilled, TaskTimeout, Timeouts

APP = Path(__file__).with_name("apps") / "talking_app.py"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=2, sandbox="none") as opened:
        yield opened


def until(holds: Any) -> None:
    """Waits for a condition, with a deadline."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_positional_and_keyword_arguments_arrive(pool: Pool) -> None:
    assert pool.call("add", 1, 2) == 3
    assert pool.call("add", b=2, a=1) == 3
    assert pool.call("add", 1, b=2) == 3
    assert pool.submit("add", 1, b=2).result(60) == 3


def test_names_of_the_pools_own_parameters_are_free_for_functions(tmp_path: Path) -> None:
    app = """
        import pyproc
        @pyproc.expose
        def take(*, self, function, timeout, pool): return [self, function, timeout, pool]
        """
    file = tmp_path / "names.py"
    file.write_text("\n".join(line.strip() for line in app.splitlines()))
    with Pool(file, workers=1, sandbox="none") as pool:
        names = {"self": 1, "function": 2, "timeout": 3, "pool": 4}
        assert pool.call("take", **names) == [1, 2, 3, 4]
        assert pool.submit("take", **names).result(60) == [1, 2, 3, 4]


def test_many_keywords_arrive(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(
        "import pyproc\n@pyproc.expose\ndef take(**kwargs): return kwargs\n"
    )
    with Pool(tmp_path / "many.py", workers=1, sandbox="none") as pool:
        names = {f"name{n}": n for n in range(50)}
        assert pool.call("take", **names) == names


def test_leased_and_queued_calls_share_the_workers(pool: Pool) -> None:
    futures = [pool.submit("add", n, 1) for n in range(200)]
    assert [pool.call("add", n, 2) for n in range(200)] == [n + 2 for n in range(200)]
    assert [future.result(60) for future in futures] == [n + 1 for n in range(200)]


def test_calls_of_many_threads_get_their_own_answers(pool: Pool) -> None:
    wrong: list[object] = []

    def run(start: int) -> None:
        for n in range(100):
            if pool.call("add", start, n) != start + n:
                wrong.append((start, n))
            if n % 10 == 0 and pool.submit("add", start, -n).result(60) != start - n:
                wrong.append((start, -n))

    threads = [threading.Thread(target=run, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


def test_the_standard_librarys_functions_take_our_futures(pool: Pool) -> None:
    futures = [pool.submit("add", n, 1) for n in range(10)]
    done, missing = concurrent.futures.wait(futures, timeout=60)
    assert (len(done), missing) == (10, set())
    found = {future.result() for future in concurrent.futures.as_completed(futures, 60)}
    assert found == set(range(1, 11))


def test_a_result_that_is_waited_for_too_long_goes_on(pool: Pool) -> None:
    future = pool.submit("nap", 0.5)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.01)
    assert future.result(60) == 0.5


def test_a_waiting_call_can_be_cancelled_and_a_running_one_killed() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        running = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_running"] == 1)
        waiting = pool.submit("nap", 600)
        assert waiting.cancel()
        assert waiting.cancelled()
        assert not running.cancel()
        assert running.kill()
        with pytest.raises(TaskKilled):
            running.result(60)
        assert not running.kill()
        assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_that_runs_too_long_is_stopped(pool: Pool, way: str) -> None:
    short = pool.options(timeout=0.2)
    began = time.monotonic()
    with pytest.raises(TaskTimeout) as caught:
        short.call("nap", 600) if way == "call" else short.submit("nap", 600).result(60)
    assert (caught.value.stage, caught.value.function) == ("run", "nap")
    assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_that_waits_too_long_is_not_run(way: str) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        busy = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_running"] == 1)
        short = pool.options(queue_timeout=0.2)
        with pytest.raises(TaskTimeout) as caught:
            short.call("add", 1, 2) if way == "call" else short.submit("add", 1, 2).result(60)
        assert caught.value.stage == "queue"
        busy.kill()


def test_a_pools_time_limit_can_be_lifted_for_a_call() -> None:
    with Pool(APP, workers=1, timeouts=Timeouts(task=0.3), sandbox="none") as pool:
        with pytest.raises(TaskTimeout):
            pool.call("nap", 600)
        assert pool.options(timeout=None).call("nap", 0.6) == 0.6


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": -1}, {"timeout": "1"}, {"queue_timeout": float("nan")}]
)
def test_a_time_limit_that_is_none_is_refused(pool: Pool, options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout"):
        pool.options(**options)


def test_a_full_queue_refuses_submit_and_lets_call_wait() -> None:
    with Pool(APP, workers=1, max_queue=2, sandbox="none") as pool:
        busy = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_running"] == 1)
        waiting = []
        with pytest.raises(QueueFull):
            for _ in range(10):
                waiting.append(pool.submit("add", 1, 2))
        threading.Timer(0.2, busy.kill).start()
        assert pool.call("add", 3, 4) == 7
        assert {future.result(60) for future in waiting} == {3}
        with pytest.raises(TaskKilled):
            busy.result(60)
        until(lambda: threading.active_count() <= 3)


def test_the_queues_bytes_are_bounded() -> None:
    with Pool(APP, workers=1, max_queue_bytes="1MiB", sandbox="none") as pool:
        busy = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_running"] == 1)
        with pytest.raises(QueueFull, match="max_queue_bytes"):
            for _ in range(40):
                pool.submit("raw", "x" * 100_000)
        busy.kill()
        pool.close(0)


def test_workers_are_started_when_they_are_needed() -> None:
    with Pool(APP, min_workers=1, max_workers=3, sandbox="none") as pool:
        assert len(pool.workers()) == 1
        futures = [pool.submit("nap", 600) for _ in range(3)]
        until(lambda: pool.stats()["calls_running"] == 3)
        assert len(pool.workers()) == 3
        for future in futures:
            future.kill()


def test_workers_and_stats_say_what_is_there(pool: Pool) -> None:
    pid = pool.call("pid")
    info = next(worker for worker in pool.workers() if worker.pid == pid)
    assert info.state in {"ready", "busy"}
    assert info.tasks_done >= 1
    assert info.age > 0
    stats = pool.stats()
    assert stats["calls_ok"] == stats["calls_admitted"] == 1
    assert all(type(value) is int for value in stats.values())


def test_functions_are_listed_with_their_signatures(pool: Pool) -> None:
    assert pool.functions()["add"] == "(a: int, b: int) -> int"


def test_resize_takes_surplus_workers_away() -> None:
    with Pool(APP, min_workers=3, max_workers=3, sandbox="none") as pool:
        until(lambda: pool.stats()["workers_idle"] == 3)
        pool.resize(1)
        until(lambda: len(pool.workers()) == 1)
        pool.resize(2)
        assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("number", [0, -1, 5000, "2", True])
def test_a_number_of_workers_that_cannot_be_is_refused(pool: Pool, number: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="workers"):
        pool.resize(number)
    with pytest.raises((TypeError, ValueError), match="workers"):
        Pool(APP, workers=number, sandbox="none")


def test_close_lets_calls_end_for_its_time_and_then_ends_them() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        short = pool.submit("nap", 0.2)
        pool.close()
        assert short.result(0) == 0.2
    pool = Pool(APP, workers=1, sandbox="none")
    long = pool.submit("nap", 600)
    pool.close(timeout=0.1)
    with pytest.raises(PoolClosed):
        long.result(0)


def test_closing_again_and_leaving_the_block_is_nothing() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pool.close()
        pool.close(1)
    assert repr(pool) == "<pyproc.Pool closed max_workers=1>"


def test_leaving_the_block_by_an_exception_does_not_wait() -> None:
    began = time.monotonic()
    with pytest.raises(KeyError), Pool(APP, workers=1, sandbox="none") as pool:
        future = pool.submit("nap", 600)
        raise KeyError
    assert time.monotonic() - began < 60
    assert isinstance(future.exception(0), PoolClosed)


def test_a_pool_is_not_pickled(pool: Pool) -> None:
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(pool)


def test_errors_are_of_one_family() -> None:
    for name in ("PoolClosed", "QueueFull", "WorkerDied", "TaskTimeout", "CodecError"):
        assert issubclass(getattr(pyproc, name), pyproc.Error)
