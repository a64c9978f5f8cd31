"""amap: in order, lazily, and stopped when it is left."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool

APP = Path(__file__).with_name("apps") / "awaited_app.py"
DEADLINE = 60.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=2) as opened:
        yield opened


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run with a deadline."""
    return asyncio.run(asyncio.wait_for(main, 2 * DEADLINE))


def wait_idle(pool: Pool) -> None:
    """Until no call runs or waits."""
    deadline = time.monotonic() + DEADLINE
    while (stats := pool.stats())["calls_running"] + stats["calls_waiting"]:
        assert time.monotonic() < deadline, stats
        time.sleep(0.005)


async def collected(results: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in results]


@pytest.mark.parametrize("buffersize", [1, 4, 1000])
def test_amap_yields_in_order(pool: Pool, buffersize: int) -> None:
    results = run(collected(pool.amap("double", range(200), buffersize=buffersize)))
    assert results == [2 * n for n in range(200)]


def test_amap_of_nothing_is_empty(pool: Pool) -> None:
    assert run(collected(pool.amap("double", []))) == []


@pytest.mark.parametrize("buffersize", [1, 5])
def test_amap_reads_no_further_ahead_than_asked(pool: Pool, buffersize: int) -> None:
    async def main() -> None:
        read = itertools.count()
        taken = 0
        async with contextlib.aclosing(pool.amap("double", read, buffersize=buffersize)) as results:
            async for value in results:
                assert value == 2 * taken
                taken += 1
                assert int(repr(read)[6:-1]) - taken < buffersize
                if taken == 50:
                    break

    run(main())


def test_leaving_amap_early_stops_its_work(pool: Pool, tmp_path: Path) -> None:
    async def main() -> None:
        async with contextlib.aclosing(pool.amap("nap", itertools.chain([0], [600] * 9))) as found:
            async for value in found:
                assert value == 0
                break

    run(main())
    wait_idle(pool)


def test_amap_raises_a_failure_at_its_place(pool: Pool) -> None:
    async def main() -> None:
        taken = []
        with pytest.raises(pyproc.ValidationError):
            async for value in pool.amap("double", [1, 2, "three", 4]):
                taken.append(value)
        assert taken == [2, 4]

    run(main())


def test_amap_raises_what_its_input_raises_after_the_results(pool: Pool) -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("input")

    async def main() -> None:
        taken = []
        with pytest.raises(LookupError, match="input"):
            async for value in pool.amap("double", broken()):
                taken.append(value)
        assert taken == [2, 4]

    run(main())


@pytest.mark.parametrize("buffersize", [0, -1, 1.5])
def test_amap_refuses_a_buffer_that_cannot_be_meant(pool: Pool, buffersize: Any) -> None:
    with pytest.raises(ValueError, match="buffersize"):
        pool.amap("double", [1], buffersize=buffersize)
