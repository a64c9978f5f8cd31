"""Micro-batching: single calls that a function gets several of at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import App, Batch, Pool, errors

APP = Path(__file__).with_name("apps") / "batch_app.py"
DEADLINE = 60.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


def until(said: Any) -> None:
    """Until that is so."""
    deadline = time.monotonic() + DEADLINE
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("function", ["double", "double_async"])
def test_calls_go_together_up_to_max_size(pool: Pool, function: str) -> None:
    futures = [pool.submit(function, at) for at in range(100)]
    assert [future.result(DEADLINE) for future in futures] == [2 * at for at in range(100)]
    sizes = pool.call("sizes")
    assert sum(sizes) == 100
    assert max(sizes) == 10
    assert len(sizes) < 50


def test_map_acall_and_call_are_batched_too(pool: Pool) -> None:
    assert list(pool.map("double", range(60))) == [2 * at for at in range(60)]
    assert max(pool.call("sizes")) == 10

    async def main() -> list[int]:
        return list(await asyncio.gather(*(pool.acall("double", at) for at in range(30))))

    assert asyncio.run(main()) == [2 * at for at in range(30)]
    assert max(pool.call("sizes")) > 1
    said: list[int] = []
    threads = [
        threading.Thread(target=lambda at=at: said.append(pool.call("double", at)))
        for at in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [2 * at for at in range(10)]
    assert max(pool.call("sizes")) > 1


def test_one_call_alone_waits_max_wait_and_no_longer(pool: Pool) -> None:
    pool.call("double", 1)
    begin = time.monotonic()
    assert pool.call("double", 4) == 8
    assert 0.45 <= time.monotonic() - begin < DEADLINE / 2
    assert pool.call("sizes") == [1, 1]


def test_a_full_batch_does_not_wait(pool: Pool) -> None:
    futures = [pool.submit("names", name) for name in "abcd"]
    assert [f.result(DEADLINE) for f in futures] == [f"{name} of a,b,c,d" for name in "abcd"]


def test_a_cancelled_item_never_gets_into_its_batch(pool: Pool) -> None:
    first, victim = pool.submit("names", "a"), pool.submit("names", "b")
    until(lambda: pool.stats()["calls_waiting"] == 0)
    assert victim.kill()
    with pytest.raises(errors.TaskKilled):
        victim.result(DEADLINE)
    others = [pool.submit("names", name) for name in "cde"]
    assert first.result(DEADLINE) == "a of a,c,d,e"
    assert others[2].result(DEADLINE) == "e of a,c,d,e"
    assert pool.stats()["workers_died"] == 0


def test_a_deadline_takes_an_item_out_of_its_batch(pool: Pool) -> None:
    with pytest.raises(errors.TaskTimeout):
        pool.options(timeout=0.2).call("names", "late")
    futures = [pool.submit("names", name) for name in "abcd"]
    assert futures[0].result(DEADLINE) == "a of a,b,c,d"
    assert pool.stats()["workers_died"] == 0


def test_cancelling_an_item_of_a_batch_that_runs_costs_the_others_nothing(
    pool: Pool, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    futures = [pool.submit("slow", str(go)) for _ in range(2)]
    until((tmp_path / "go.started").exists)
    futures[1].kill()
    time.sleep(1.3)  # longer than a call gets to stop: the worker must live on
    go.touch()
    assert futures[0].result(DEADLINE) == 2
    assert pool.stats()["workers_died"] == 0


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("short", ValueError, "was given 3 items and answered 2"),
        ("none", TypeError, "must answer a list.*not NoneType"),
        ("raise", LookupError, "all of them"),
    ],
)
def test_what_goes_wrong_with_the_batch_is_told_to_each(
    pool: Pool, kind: str, error: type[Exception], text: str
) -> None:
    for future in [pool.submit("odd", name) for name in ("a", kind, "c")]:
        with pytest.raises(error, match=text):
            future.result(DEADLINE)


def test_an_exception_in_the_place_of_a_result_is_that_item_s(pool: Pool) -> None:
    good, bad, last = (pool.submit("odd", name) for name in ("a", "bad", "c"))
    assert (good.result(DEADLINE), last.result(DEADLINE)) == ("a", "c")
    with pytest.raises(KeyError, match="bad"):
        bad.result(DEADLINE)


def test_a_crash_ends_the_items_of_its_batch(pool: Pool) -> None:
    for future in [pool.submit("odd", name) for name in ("a", "crash", "c")]:
        with pytest.raises(errors.WorkerCrashed) as caught:
            future.result(DEADLINE)
        assert caught.value.in_flight == 3
    assert pool.options(cpu_time=30).call("odd", "alone") == "alone"


def test_arguments_and_results_are_checked_one_by_one(pool: Pool) -> None:
    futures = [pool.submit("double", value) for value in (1, "two", 3)]
    assert futures[0].result(DEADLINE) == 2
    assert futures[2].result(DEADLINE) == 6
    with pytest.raises(errors.ValidationError, match="argument 'numbers'"):
        futures[1].result(DEADLINE)
    mixed = [pool.submit("wrong_type", at) for at in range(3)]
    assert (mixed[0].result(DEADLINE), mixed[2].result(DEADLINE)) == (0, 2)
    with pytest.raises(errors.ValidationError, match="result"):
        mixed[1].result(DEADLINE)
    with pytest.raises(TypeError, match="one item a call, 2 were given"):
        pool.call("double", 1, 2)
    assert pool.call("double", numbers=5) == 10
    assert pool.functions()["double"] == "(numbers: int) -> int"


def test_what_has_a_worker_to_itself_is_a_batch_of_one(pool: Pool) -> None:
    assert pool.options(cpu_time=30).call("names", "x") == "x of x"
    assert pool.options(cpu_time=30).call("double_async", 4) == 8


def test_other_functions_take_their_turn(pool: Pool) -> None:
    futures = [pool.submit("double", at) for at in range(5)]
    assert pool.call("sizes") in ([5], [4], [3], [2], [1])
    assert [future.result(DEADLINE) for future in futures] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((0,), ValueError), ((1001,), ValueError), (("3",), TypeError), ((3, -1), ValueError),
     ((3, float("nan")), ValueError), ((3, "1"), TypeError)],
)  # fmt: skip
def test_a_batch_that_cannot_be_is_refused(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Batch\\(max_"):
        Batch(*arguments)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a pyproc.Batch"):
        App().expose(batch=3)(test_what_is_no_batch_is_refused)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("def f(a: list[int], b: int) -> list[int]: ...", "must take one parameter"),
        ("def f(a: int) -> list[int]: ...", "'a' is a list of items"),
        ("def f(a: list[int]) -> int: ...", "'return' is a list of items"),
        ("def f(a: list[int]): yield a", "must take one parameter"),
    ],
)
def test_a_function_that_cannot_take_batches_is_refused_at_the_start(
    tmp_path: Path, function: str, text: str
) -> None:
    lines = ["import pyproc", "app = pyproc.App()", "@app.expose(batch=pyproc.Batch())", function]
    (tmp_path / "bad.py").write_text("\n".join(lines) + "\n")
    with pytest.raises(errors.WorkerStartError, match=text):
        Pool(tmp_path / "bad.py", workers=1, sandbox="none")
