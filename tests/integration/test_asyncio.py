"""Calls from an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool

APP = Path(__file__).with_name("apps") / "talking_app.py"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=2) as opened:
        yield opened


def until_quiet(pool: Pool) -> dict[str, int]:
    """The pool's figures when nothing runs or waits any more."""
    deadline = time.monotonic() + 30
    while (stats := pool.stats())["calls_running"] + stats["calls_waiting"]:
        assert time.monotonic() < deadline, stats
        time.sleep(0.01)
    return stats


def test_many_calls_at_once_are_answered(pool: Pool) -> None:
    async def main() -> Any:
        return await asyncio.gather(*(pool.acall("add", n, 1) for n in range(500)))

    assert asyncio.run(main()) == [n + 1 for n in range(500)]


def test_the_loop_goes_on_while_a_call_runs(pool: Pool) -> None:
    async def main() -> int:
        ticks = 0
        call = asyncio.ensure_future(pool.acall("nap", 0.5))
        while not call.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(main()) >= 10


def test_coroutine_functions_are_awaited_in_the_worker(pool: Pool) -> None:
    assert pool.call("later", 5) == 5
    assert asyncio.run(pool.acall("later", 6)) == 6


def test_cancelling_the_task_stops_the_work(pool: Pool) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(pool.acall("nap", 600))
        while pool.stats()["calls_running"] == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert until_quiet(pool)["calls_cancelled"] == 1
    assert pool.call("add", 1, 2) == 3


def test_a_timeout_of_asyncio_stops_the_work(pool: Pool) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pool.acall("nap", 600)

    asyncio.run(main())
    until_quiet(pool)


def test_a_calls_own_time_limit_holds(pool: Pool) -> None:
    async def main() -> None:
        with pytest.raises(pyproc.TaskTimeout):
            await pool.options(timeout=0.2).acall("nap", 600)

    asyncio.run(main())


def test_cancelling_at_any_moment_loses_and_breaks_nothing(pool: Pool) -> None:
    async def one(n: int) -> None:
        task = asyncio.ensure_future(pool.acall("add", n, 1))
        for _ in range(n % 7):
            await asyncio.sleep(0)
        task.cancel()
        try:
            assert await task == n + 1
        except asyncio.CancelledError:
            pass

    async def main() -> None:
        for start in range(0, 200, 20):
            await asyncio.gather(*(one(n) for n in range(start, start + 20)))
        assert await pool.acall("add", 1, 2) == 3

    asyncio.run(main())
    until_quiet(pool)


def test_loops_in_several_threads_use_one_pool(pool: Pool) -> None:
    found: dict[int, list[int]] = {}

    async def many(start: int) -> None:
        found[start] = list(await asyncio.gather(*(pool.acall("add", start, n) for n in range(50))))

    threads = [threading.Thread(target=lambda s=n: asyncio.run(many(s))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {start: [start + n for n in range(50)] for start in range(4)}


def test_loops_that_end_leave_nothing_with_the_pool(pool: Pool) -> None:
    """The leak fixture counts; here is only the many loops."""
    for n in range(30):
        assert asyncio.run(pool.acall("add", n, 1)) == n + 1


def test_amap_keeps_the_order_and_stops_early(pool: Pool) -> None:
    async def main() -> list[int]:
        found = []
        async for value in pool.amap("later", range(100), buffersize=10):
            found.append(value)
            if value == 50:
                break
        return found

    assert asyncio.run(main()) == list(range(51))
    until_quiet(pool)


def test_an_async_with_block_closes_the_pool() -> None:
    async def main() -> Pool:
        async with Pool(APP, workers=1) as pool:
            assert await pool.acall("add", 1, 2) == 3
        return pool

    with pytest.raises(pyproc.PoolClosed):
        asyncio.run(main()).call("add", 1, 2)


def test_a_full_queue_is_waited_for_without_holding_the_loop() -> None:
    async def main(pool: Pool) -> int:
        calls = [asyncio.ensure_future(pool.acall("nap", 0.01)) for _ in range(40)]
        ticks = 0
        while not all(call.done() for call in calls):
            await asyncio.sleep(0.005)
            ticks += 1
        await asyncio.gather(*calls)
        return ticks

    with Pool(APP, workers=1, max_queue=2) as pool:
        assert asyncio.run(main(pool)) > 5


def test_a_call_on_a_pool_that_closes_ends(pool: Pool) -> None:
    async def main() -> None:
        call = asyncio.ensure_future(pool.acall("nap", 600))
        while pool.stats()["calls_running"] == 0:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(pool.close, 0)
        with pytest.raises(pyproc.PoolClosed):
            await call

    asyncio.run(main())
