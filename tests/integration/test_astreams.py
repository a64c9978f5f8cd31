"""Streams under asyncio: `async for`, `async with`, and a generator that ends with its task."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool, aio, errors

APP = Path(__file__).with_name("apps") / "streaming_app.py"
DEADLINE = 60.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _frees_its_workers(pool: Pool) -> Iterator[None]:
    """After each test the workers are idle again."""
    yield
    gc.collect()
    wait_for(lambda: pool.stats()["calls_running"] + pool.stats()["calls_waiting"] == 0)
    wait_for(swept)


def wait_for(holds: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def swept() -> bool:
    """Whether nothing is left of loops that were closed before their streams."""
    aio.sweep()
    return not aio._abandoned


def told(path: Path) -> str:
    """What the generator left in the file, as soon as it has."""
    wait_for(lambda: path.exists() and "closed" in path.read_text())
    return path.read_text()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run with a deadline."""
    return asyncio.run(asyncio.wait_for(main, 2 * DEADLINE))


@pytest.mark.parametrize("name", ["count", "acount"])
def test_items_come_in_order(pool: Pool, name: str) -> None:
    async def main() -> list[int]:
        return [item async for item in pool.astream(name, 10_000)]

    assert run(main()) == list(range(10_000))


def test_many_streams_share_a_loop(pool: Pool) -> None:
    async def total(number: int) -> int:
        return sum([item async for item in pool.astream("count", number)])

    async def main() -> list[int]:
        return await asyncio.gather(*[total(number) for number in range(50)])

    assert run(main()) == [sum(range(number)) for number in range(50)]


@pytest.mark.parametrize("name", ["counted", "acounted"])
def test_leaving_the_block_has_closed_the_generator(pool: Pool, tmp_path: Path, name: str) -> None:
    async def main() -> str:
        async with pool.astream(name, str(tmp_path / "end")) as stream:
            async for item in stream:
                if item == 10:
                    break
        return (tmp_path / "end").read_text()

    assert run(main()).startswith("closed after")


def test_a_dropped_stream_is_closed(pool: Pool, tmp_path: Path) -> None:
    async def main() -> None:
        async for item in pool.astream("counted", str(tmp_path / "end")):
            if item == 10:
                break
        gc.collect()

    run(main())
    assert told(tmp_path / "end").startswith("closed")


@pytest.mark.parametrize("name", ["slow_second", "aslow_second"])
def test_cancelling_the_reading_task_closes_the_generator(
    pool: Pool, tmp_path: Path, name: str
) -> None:
    arguments = [str(tmp_path / "end"), 300.0] if name == "slow_second" else [str(tmp_path / "end")]

    async def read(begun: asyncio.Event) -> None:
        async for _ in pool.astream(name, *arguments):
            begun.set()

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(read(begun))
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run(main())
    assert told(tmp_path / "end") == "closed"


def test_asyncio_timeout_closes_the_generator(pool: Pool, tmp_path: Path) -> None:
    async def main() -> list[str]:
        items = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                async for item in pool.astream("aslow_second", str(tmp_path / "end")):
                    items.append(item)
        return items

    assert run(main()) == ["first"]
    assert told(tmp_path / "end") == "closed"


@pytest.mark.parametrize("name", ["raises", "araises"])
def test_an_error_comes_after_the_items(pool: Pool, name: str) -> None:
    async def main() -> list[int]:
        items = []
        with pytest.raises(LookupError, match="no more"):
            async for item in pool.astream(name, 500):
                items.append(item)
        return items

    assert run(main()) == list(range(500))


def test_a_crash_comes_after_the_items(pool: Pool) -> None:
    async def main() -> list[int]:
        items = []
        with pytest.raises(errors.WorkerCrashed):
            async for item in pool.astream("crashes", 500):
                items.append(item)
        return items

    assert run(main()) == list(range(500))


def test_tasks_of_an_async_generator_run_while_the_reader_takes_its_time(
    pool: Pool, tmp_path: Path
) -> None:
    ticks = tmp_path / "ticks"

    async def main() -> None:
        async with pool.options(buffersize=1).astream("ticks_beside", str(ticks)) as stream:
            assert await anext(stream) == 0
            before = len(ticks.read_text()) if ticks.exists() else 0
            async with asyncio.timeout(DEADLINE):
                while not ticks.exists() or len(ticks.read_text()) < before + 3:
                    await asyncio.sleep(0.005)

    run(main())


def test_a_loop_that_is_closed_leaves_no_stream_behind(pool: Pool, tmp_path: Path) -> None:
    async def main() -> Any:
        stream = pool.astream("counted", str(tmp_path / "end"))
        assert await anext(stream) == 1
        return stream

    stream = run(main())
    gc.collect()
    assert told(tmp_path / "end").startswith("closed")
    del stream


def test_a_full_queue_is_waited_for_without_holding_the_loop(tmp_path: Path) -> None:
    async def total(pool: Pool) -> int:
        return sum([item async for item in pool.astream("count", 10)])

    async def main() -> list[int]:
        with Pool(APP, workers=1, max_queue=1, sandbox="none") as pool:
            return await asyncio.gather(*[total(pool) for _ in range(10)])

    assert run(main()) == [45] * 10
