"""map: lazy, in order, one end for each item."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import CodecError, Pool, WorkerCrashed

APP = """
import ctypes, os, time
import pyproc

app = pyproc.App()

@app.expose
def double(n: int) -> int:
    return 2 * n

@app.expose
def echo(value):
    return value

@app.expose
def odd_fails(n):
    if n % 2:
        raise ValueError(n)
    return n

@app.expose
def seven_crashes(n):
    if n == 7:
        ctypes.string_at(0)
    return n

@app.expose
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.expose
def stops(n):
    if n == 2:
        raise StopIteration("end")
    return n

@app.expose
def pid(_):
    return os.getpid()
"""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Two workers; at the end nothing is running or waiting."""
    (tmp_path / "mapped.py").write_text(APP)
    with Pool(tmp_path / "mapped.py", workers=2) as opened:
        yield opened
        deadline = time.monotonic() + 30
        while (stats := opened.stats())["calls_running"] + stats["calls_waiting"]:
            assert time.monotonic() < deadline, stats
            time.sleep(0.01)


@pytest.mark.parametrize("chunksize", ["auto", 1, 7, 5000])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_results_come_in_the_order_of_the_items(pool: Pool, chunksize: Any, count: int) -> None:
    results = pool.map("double", range(count), chunksize=chunksize)
    assert list(results) == [2 * n for n in range(count)]


def test_unordered_results_are_the_same_ones(pool: Pool) -> None:
    assert sorted(pool.map("double", range(500), ordered=False)) == [2 * n for n in range(500)]


def test_what_is_ready_first_comes_first_when_unordered(pool: Pool) -> None:
    results = pool.map("nap", [1.0, 0.0], ordered=False, chunksize=1)
    assert list(results) == [0.0, 1.0]


def test_the_input_may_be_endless(pool: Pool) -> None:
    results = pool.map("double", itertools.count())
    assert list(itertools.islice(results, 300)) == [2 * n for n in range(300)]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_no_more_items_are_read_ahead_than_asked(pool: Pool, size: int) -> None:
    read = itertools.count()
    taken = 0
    for _ in pool.map("double", read, buffersize=size):
        taken += 1
        ahead = int(repr(read)[6:-1]) - taken  # count(n)
        assert ahead <= size
        if taken == 200:
            break


def test_nothing_is_read_before_the_first_result_is_asked_for(pool: Pool) -> None:
    read = itertools.count()
    results = pool.map("double", read)
    assert repr(read) == "count(0)"
    assert next(results) == 0


def test_a_failure_is_raised_at_its_place_and_the_rest_follows(pool: Pool) -> None:
    results = pool.map("odd_fails", range(4), chunksize=4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="1"):
        next(results)
    assert next(results) == 2
    with pytest.raises(ValueError, match="3"):
        next(results)
    assert list(results) == []


def test_failures_can_be_had_as_results(pool: Pool) -> None:
    results = list(pool.map("odd_fails", range(100), return_exceptions=True))
    assert results[::2] == list(range(0, 100, 2))
    assert [str(error) for error in results[1::2]] == [str(n) for n in range(1, 100, 2)]
    assert {type(error) for error in results[1::2]} == {ValueError}


@pytest.mark.parametrize("chunksize", [1, 4, 20])
def test_a_crash_costs_the_item_it_happened_at(pool: Pool, chunksize: int) -> None:
    results = list(
        pool.map("seven_crashes", range(20), chunksize=chunksize, return_exceptions=True)
    )
    assert isinstance(results.pop(7), WorkerCrashed)
    assert results == [n for n in range(20) if n != 7]


@pytest.mark.parametrize("chunksize", ["auto", 1, 5])
def test_an_item_that_cannot_go_fails_at_its_place(pool: Pool, chunksize: Any) -> None:
    items: list[Any] = list(range(10))
    items[3] = {"deep": [object()]}
    results = list(pool.map("echo", items, chunksize=chunksize, return_exceptions=True))
    failed = results.pop(3)
    assert isinstance(failed, CodecError)
    assert failed.path == "item 3['deep'][0]"
    assert results == [n for n in range(10) if n != 3]


def test_an_input_that_raises_does_so_after_the_results_of_what_it_gave(pool: Pool) -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("input")

    results = pool.map("double", broken(), chunksize=10)
    assert next(results) == 2
    assert next(results) == 4
    with pytest.raises(KeyError, match="input"):
        next(results)


def test_a_functions_stop_iteration_does_not_end_the_map(pool: Pool) -> None:
    results = list(pool.map("stops", range(4), return_exceptions=True))
    assert isinstance(results[2], pyproc.RemoteError)
    assert results[3] == 3


def test_progress_is_told_after_each_item(pool: Pool) -> None:
    told: list[tuple[int, int | None]] = []
    list(pool.map("double", range(5), progress=lambda done, total: told.append((done, total))))
    assert told == [(n, 5) for n in range(1, 6)]


def test_the_total_of_an_input_without_length_is_unknown(pool: Pool) -> None:
    told: list[int | None] = []
    list(pool.map("double", iter(range(3)), progress=lambda _, total: told.append(total)))
    assert told == [None] * 3


def test_leaving_early_stops_the_work(pool: Pool) -> None:
    for _ in pool.map("nap", itertools.repeat(0.01), chunksize=1):
        break
    results = pool.map("nap", [0, 600, 600], chunksize=1)
    assert next(results) == 0
    results.close()
    assert list(results) == []


def test_waiting_for_a_result_can_have_a_limit(pool: Pool) -> None:
    results = pool.map("nap", [600], timeout=0.2)
    with pytest.raises(TimeoutError):
        next(results)


def test_each_item_has_the_calls_time_limit(pool: Pool) -> None:
    results = list(pool.options(timeout=1.0).map("nap", [0, 600, 0.01], return_exceptions=True))
    assert [results[0], results[2]] == [0, 0.01]
    assert isinstance(results[1], pyproc.TaskTimeout)


def test_maps_of_many_threads_do_not_mix(pool: Pool) -> None:
    found: dict[int, list[int]] = {}

    def run(start: int) -> None:
        found[start] = list(pool.map("double", range(start, start + 300)))

    threads = [threading.Thread(target=run, args=(n * 1000,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {n: [2 * m for m in range(n, n + 300)] for n in range(0, 6000, 1000)}


def test_items_go_to_all_workers(pool: Pool) -> None:
    deadline = time.monotonic() + 60
    while len(set(pool.map("pid", range(200), chunksize=1))) < 2:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"buffersize": 0}, "buffersize"),
        ({"chunksize": 0}, "chunksize"),
        ({"chunksize": "some"}, "chunksize"),
        ({"progress": "bar"}, "progress"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(
    pool: Pool, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        pool.map("double", [1], **options)


def test_an_unknown_function_fails_each_item(pool: Pool) -> None:
    results = list(pool.map("nothing", [1, 2], return_exceptions=True))
    assert [type(error) for error in results] == [pyproc.UnknownFunction] * 2


def test_a_closed_pool_says_so(tmp_path: Path) -> None:
    (tmp_path / "mapped.py").write_text(APP)
    with Pool(tmp_path / "mapped.py", workers=1) as pool:
        pass
    with pytest.raises(pyproc.PoolClosed):
        list(pool.map("double", [1]))
