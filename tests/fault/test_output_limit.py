"""How much a call may print, and how much it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Limits, OutputLimitExceeded, Pool, ResultTooLarge

APP = Path(__file__).parent / "apps" / "chatty.py"
DEADLINE = 60.0
KIB = 1 << 10


def leased(calls: Any, *args: Any) -> Any:
    return calls.call(*args)


def queued(calls: Any, *args: Any) -> Any:
    return calls.submit(*args).result(DEADLINE)


Way = Callable[..., Any]
both_ways = pytest.mark.parametrize("way", [leased, queued])


@pytest.fixture(name="pool", scope="module")
def limited() -> Iterator[Pool]:
    limits = Limits(output="64KiB", result_size="1MiB")
    with Pool(APP, workers=1, limits=limits, output="drop", sandbox="none") as opened:
        yield opened


@both_ways
@pytest.mark.parametrize("stream", [1, 2])
def test_what_fits_exactly_is_not_disturbed(pool: Pool, way: Way, stream: int) -> None:
    before = pool.call("pid")
    for _ in range(20):
        assert way(pool, "say", 64 * KIB, stream) == 64 * KIB
    assert pool.call("pid") == before


@both_ways
def test_one_byte_more_is_an_error(pool: Pool, way: Way) -> None:
    with pytest.raises(OutputLimitExceeded, match="65537 bytes") as caught:
        way(pool, "say", 64 * KIB + 1)
    assert (caught.value.limit, caught.value.used) == (64 * KIB, 64 * KIB + 1)
    assert caught.value.function == "say"


@both_ways
def test_a_flood_ends_with_its_worker(pool: Pool, way: Way) -> None:
    before = pool.call("pid")
    error = killed_with_stack(OutputLimitExceeded, lambda: way(pool, "flood"))
    assert error.cause == "output"
    assert error.signal == 9
    assert "in flood" in (error.python_stack or "")
    assert pool.call("pid") != before


def test_many_small_lines_count_together(pool: Pool) -> None:
    with pytest.raises(OutputLimitExceeded):
        pool.call("whisper", DEADLINE)


def test_each_call_is_counted_anew(pool: Pool) -> None:
    futures = [pool.submit("say", 60 * KIB) for _ in range(40)]
    assert [future.result(DEADLINE) for future in futures] == [60 * KIB] * 40


def test_each_item_of_a_map_is_counted_anew(pool: Pool) -> None:
    sizes = [KIB, 60 * KIB, 65 * KIB, 60 * KIB, KIB]
    results = list(pool.map("say", sizes, return_exceptions=True, chunksize=5))
    assert isinstance(results[2], OutputLimitExceeded)
    assert results[:2] + results[3:] == [KIB, 60 * KIB, 60 * KIB, KIB]


def test_an_exception_of_the_function_gives_way(pool: Pool) -> None:
    with pytest.raises(KeyError):
        pool.call("say_and_raise", KIB)
    with pytest.raises(OutputLimitExceeded):
        pool.call("say_and_raise", 65 * KIB)


@both_ways
def test_a_call_may_have_a_limit_of_its_own(way: Way) -> None:
    with Pool(APP, workers=1, output="drop", sandbox="none") as pool:
        with pytest.raises(OutputLimitExceeded) as caught:
            way(pool.options(output="1KiB"), "say", KIB + 1)
        assert caught.value.limit == KIB
        assert way(pool, "say", 1000 * KIB) == 1000 * KIB


@both_ways
def test_results_are_limited_to_the_byte(pool: Pool, way: Way) -> None:
    room = 1 << 20  # in shared memory, so without a byte string's head
    before = pool.call("pid")
    assert len(way(pool, "answer", room)) == room
    with pytest.raises(ResultTooLarge, match="Limits"):
        way(pool, "answer", room + 1)
    assert pool.call("pid") == before


@both_ways
def test_a_calls_own_limit_of_results_is_exact_too(pool: Pool, way: Way) -> None:
    small = pool.options(result_size="1KiB")
    assert len(way(small, "answer", KIB - 3)) == KIB - 3
    with pytest.raises(ResultTooLarge):
        way(small, "answer", KIB - 2)


def test_a_calls_own_limit_of_results_holds_for_each_item_of_a_map(pool: Pool) -> None:
    results = pool.options(result_size="1KiB").map(
        "answer", [900, 900, 2000, 900], return_exceptions=True, chunksize=4
    )
    kinds = [type(result) for result in results]
    assert kinds == [bytes, bytes, ResultTooLarge, bytes]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"output": 0}, ValueError, "output=0: at least 1 byte"),
        ({"output": "lots"}, ValueError, "output='lots'"),
        ({"result_size": 0}, ValueError, "result_size=0: at least 1 byte"),
        ({"result_size": "2MiB"}, ValueError, "above the pool's 1048576 bytes"),
    ],
)
def test_bad_limits_of_a_call_are_refused_by_name(
    pool: Pool, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        pool.options(**options)


def test_a_bad_limit_of_a_pool_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Limits\.output=0: at least 1 byte"):
        Limits(output=0)
