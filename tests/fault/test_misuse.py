"""Wrong names, arguments, options and moments: a clear error each, and the pool goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Limits, Pool, Timeouts, errors

APP = Path(__file__).parent / "apps" / "breaking.py"
DEADLINE = 60.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as pool:
        yield pool


WAYS: dict[str, Callable[..., Any]] = {
    "call": lambda pool, *args, **kwargs: pool.call(*args, **kwargs),
    "submit": lambda pool, *args, **kwargs: pool.submit(*args, **kwargs).result(DEADLINE),
    "acall": lambda pool, *args, **kwargs: asyncio.run(pool.acall(*args, **kwargs)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["ad", "", "add ", "ADD", "__import__", "os.system", "x" * 100_000]
)
def test_an_unknown_function_is_an_error_and_costs_no_worker(
    shared: Pool, way: str, name: str
) -> None:
    died = shared.stats()["workers_died"]
    with pytest.raises(errors.UnknownFunction) as caught:
        WAYS[way](shared, name)
    assert "add" in str(caught.value)
    assert shared.stats()["workers_died"] == died


def test_an_unknown_function_names_the_nearest_known_one(shared: Pool) -> None:
    with pytest.raises(errors.UnknownFunction, match="did you mean 'environment'"):
        shared.call("enviroment")


def test_an_unknown_function_in_a_map_is_the_items_error(shared: Pool) -> None:
    ends = list(shared.map("nothing", range(5), return_exceptions=True))
    assert [type(end) for end in ends] == [errors.UnknownFunction] * 5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, TypeError),
        ((1, 2, 3), {}, TypeError),
        ((1,), {"c": 2}, TypeError),
        ((1,), {"a": 2}, TypeError),
        (("one",), {}, errors.ValidationError),
        ((1.5,), {}, errors.ValidationError),
        ((1,), {"b": [2]}, errors.ValidationError),
        ((None,), {}, errors.ValidationError),
        ((object(),), {}, errors.CodecError),
        ((lambda: None,), {}, errors.CodecError),
        ((1,), {"b": threading.Lock()}, errors.CodecError),
    ],
    ids=[
        "too few", "too many", "unknown keyword", "twice", "text for int", "float for int",
        "list for int", "None for int", "object", "function", "lock",
    ],
)  # fmt: skip
def test_wrong_arguments_are_an_error_and_cost_no_worker(
    shared: Pool, way: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception]
) -> None:
    died = shared.stats()["workers_died"]
    with pytest.raises(error):
        WAYS[way](shared, "add", *args, **kwargs)
    assert shared.stats()["workers_died"] == died
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_argument_is_named_by_its_path(shared: Pool, way: str) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        WAYS[way](shared, "add", 1, b="two")
    assert caught.value.path == "argument 'b'"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [5, None, b"add", ["add"]])
def test_a_function_name_that_is_no_text_is_a_type_error(
    shared: Pool, way: str, name: object
) -> None:
    with pytest.raises(TypeError):
        WAYS[way](shared, name)


def test_a_value_that_contains_itself_is_an_error(shared: Pool) -> None:
    circle: list[object] = []
    circle.append(circle)
    for way in WAYS.values():
        with pytest.raises(errors.CodecError):
            way(shared, "add", circle)


@pytest.mark.parametrize("way", WAYS)
def test_arguments_larger_than_a_frame_are_an_error(way: str) -> None:
    with Pool(
        APP, workers=1, buffer_threshold=None, sandbox="none"
    ) as pool:  # else they go in shared memory
        with pytest.raises(errors.Error, match="large"):
            WAYS[way](pool, "size", bytes(17 * 2**20))
        assert pool.call("size", bytes(2**20)) == 2**20


@pytest.mark.parametrize("way", WAYS)
def test_a_result_larger_than_the_limit_is_an_error_and_costs_no_worker(way: str) -> None:
    with Pool(APP, workers=1, limits=Limits(result_size="1MiB"), sandbox="none") as pool:
        assert len(WAYS[way](pool, "blob", 2**19)) == 2**19
        with pytest.raises(errors.ResultTooLarge, match="result_size"):
            WAYS[way](pool, "blob", 2**21)
        assert pool.stats()["workers_died"] == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"workers": 0}, ValueError, "workers=0"),
        ({"workers": -1}, ValueError, "workers=-1"),
        ({"workers": 5000}, ValueError, "4096"),
        ({"workers": True}, TypeError, "workers"),
        ({"workers": "2"}, TypeError, "workers"),
        ({"workers": 1.0}, TypeError, "workers"),
        ({"workers": 2, "min_workers": 1}, ValueError, "contradict"),
        ({"workers": 2, "max_workers": 2}, ValueError, "contradict"),
        ({"min_workers": 3, "max_workers": 2}, ValueError, "more than"),
        ({"min_workers": 0, "max_workers": 2}, ValueError, "min_workers=0"),
        ({"workerz": 2}, TypeError, "workerz"),
        ({"max_queue": 0}, ValueError, "max_queue"),
        ({"max_queue": -1}, ValueError, "max_queue"),
        ({"max_queue": "9"}, ValueError, "max_queue"),
        ({"max_queue_bytes": 0}, ValueError, "max_queue_bytes"),
        ({"max_queue_bytes": "1 fortnight"}, ValueError, "max_queue_bytes"),
        ({"max_queue_bytes": -1}, ValueError, "max_queue_bytes"),
        ({"max_queue_bytes": 1.5}, TypeError, "max_queue_bytes"),
        ({"output": "screen"}, ValueError, "output"),
        ({"cwd": "/no/such/folder"}, FileNotFoundError, "cwd"),
        ({"python": "/no/such/python"}, FileNotFoundError, "python"),
        ({"path": "/one/string"}, TypeError, "path"),
        ({"env": {"A=B": "1"}}, ValueError, "A=B"),
        ({"env": {"A": "\0"}}, ValueError, "A"),
        ({"env": {"A": 1}}, TypeError, "A"),
        ({"env": {"": "1"}}, ValueError, "env"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Pool(APP, **options, sandbox="none")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Limits(open_files=1), ValueError),
        (lambda: Limits(nice=-5), ValueError),
        (lambda: Limits(nice=1.5), ValueError),  # type: ignore[arg-type]
        (lambda: Limits(file_size="1KiB"), ValueError),
        (lambda: Limits(address_space="much"), ValueError),
        (lambda: Limits(core=-1), ValueError),
        (lambda: Limits(stack=1.5), TypeError),  # type: ignore[arg-type]
        (lambda: Limits(memory_size=1), TypeError),  # type: ignore[call-arg]
        (lambda: Limits("1MiB"), TypeError),  # type: ignore[call-arg]
        (lambda: Timeouts(start=0), ValueError),
        (lambda: Timeouts(task=-1), ValueError),
        (lambda: Timeouts(queue=float("nan")), ValueError),
        (lambda: Timeouts(task="1"), TypeError),  # type: ignore[arg-type]
        (lambda: Timeouts(task=True), TypeError),
        (lambda: Pool(APP, limits=Limits(result_size=0), sandbox="none"), ValueError),
        (lambda: Pool(APP, limits=Limits(result_size="1 elephant"), sandbox="none"), ValueError),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    make: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0}, {"timeout": -1}, {"timeout": "1"}, {"timeout": float("nan")},
        {"queue_timeout": 0}, {"queue_timeout": True}, {"retries": 3},
    ],
)  # fmt: skip
def test_a_call_option_that_cannot_be_is_refused(shared: Pool, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        shared.options(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"buffersize": 0}, {"chunksize": 0}, {"chunksize": "big"}, {"progress": "bar"},
        {"timeout": 0}, {"chunks": 3}, {"buffersize": 1.5},
    ],
)  # fmt: skip
def test_a_map_option_that_cannot_be_is_refused_before_the_input_is_read(
    shared: Pool, options: dict[str, Any]
) -> None:
    source = iter([1, 2, 3])
    with pytest.raises((ValueError, TypeError)):
        shared.map("add", source, **options)
    assert list(source) == [1, 2, 3]


def test_a_time_limit_of_any_length_is_taken(shared: Pool) -> None:
    for seconds in (1e-9, 0.5, 1e6, 1e12, 1e300, float("inf")):
        try:
            assert shared.options(timeout=seconds).call("add", 1, 2) == 3
        except errors.TaskTimeout:
            assert seconds < 1


EACH_METHOD: dict[str, Callable[[Pool], Any]] = {
    "call": lambda pool: pool.call("add", 1, 2),
    "submit": lambda pool: pool.submit("add", 1, 2),
    "acall": lambda pool: asyncio.run(pool.acall("add", 1, 2)),
    "map": lambda pool: list(pool.map("add", [1])),
    "options": lambda pool: pool.options(timeout=1).call("add", 1, 2),
    "enter": lambda pool: pool.__enter__(),
}


@pytest.mark.parametrize("method", EACH_METHOD)
@pytest.mark.parametrize("output", ["forward", "drop"])
def test_a_closed_pool_refuses_to_work(method: str, output: Any) -> None:
    pool = Pool(APP, workers=1, output=output, sandbox="none")
    pool.close()
    with pytest.raises(errors.PoolClosed):
        EACH_METHOD[method](pool)


def test_a_closed_pool_may_be_looked_at_and_closed_again() -> None:
    pool = Pool(APP, workers=1, sandbox="none")
    future = pool.submit("add", 1, 2)
    calls = pool.options(timeout=5)
    pool.close()
    pool.close(0)
    pool.close(timeout=1)
    assert pool.workers() == []
    assert pool.stats()["workers"] == 0
    assert pool.stats()["calls_ok"] == 1
    assert pool.functions()
    assert "closed" in repr(pool)
    pool.resize(2)
    assert future.result(0) == 3
    assert not future.cancel()
    assert not future.kill()
    with pytest.raises(errors.PoolClosed):
        calls.call("add", 1, 2)


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() -> None:
    with Pool(APP, workers=1, max_queue=3, sandbox="none") as pool:
        running = pool.submit("nap", 0.5)
        while pool.stats()["calls_waiting"]:
            pass
        waiting = [pool.submit("add", n) for n in range(3)]
        with pytest.raises(errors.QueueFull):
            pool.submit("add", 1, 2)
        assert running.result(DEADLINE) == 0.5
        assert [future.result(DEADLINE) for future in waiting] == [0, 1, 2]
        assert pool.submit("add", 1, 2).result(DEADLINE) == 3
        assert pool.stats()["calls_rejected"] == 1


@pytest.mark.parametrize("threshold", [None, "256KiB"], ids=["inline", "in shared memory"])
def test_a_queue_full_of_bytes_refuses_at_once(threshold: str | None) -> None:
    with Pool(
        APP, workers=1, max_queue_bytes="1MiB", buffer_threshold=threshold, sandbox="none"
    ) as pool:
        running = pool.submit("nap", 0.5)
        while pool.stats()["calls_waiting"]:
            pass
        big = pool.submit("size", bytes(700_000))
        with pytest.raises(errors.QueueFull):
            pool.submit("size", bytes(700_000))
        small = pool.submit("size", bytes(7))
        assert running.result(DEADLINE) == 0.5
        assert big.result(DEADLINE) == 700_000
        assert small.result(DEADLINE) == 7


def test_a_map_waits_for_room_in_a_full_queue() -> None:
    with Pool(APP, workers=1, max_queue=1, sandbox="none") as pool:
        assert list(pool.map("add", range(200), chunksize=1)) == list(range(200))


def test_a_call_that_waits_longer_than_its_queue_timeout_never_runs(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    with Pool(APP, workers=1, sandbox="none") as pool:
        busy = pool.submit("nap", 0.8)
        while pool.stats()["calls_waiting"]:
            pass
        calls = pool.options(queue_timeout=0.1)
        late = calls.submit("mark", str(log), 1)
        with pytest.raises(errors.TaskTimeout) as caught:
            late.result(DEADLINE)
        assert caught.value.stage == "queue"
        with pytest.raises(errors.TaskTimeout) as caught:
            calls.call("mark", str(log), 2)
        assert caught.value.stage == "queue"
        assert busy.result(DEADLINE) == 0.8
        assert pool.call("add", 1, 2) == 3
    assert not log.exists()


def test_close_with_a_timeout_ends_what_still_runs(tmp_path: Path) -> None:
    pool = Pool(APP, workers=1, sandbox="none")
    running = pool.submit("nap", 60)
    waiting = pool.submit("add", 1, 2)
    pool.close(timeout=0.2)
    for future in (running, waiting):
        with pytest.raises(errors.PoolClosed):
            future.result(0)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1"])
def test_close_refuses_a_time_that_cannot_be(timeout: Any) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool, pytest.raises((ValueError, TypeError)):
        pool.close(timeout)
