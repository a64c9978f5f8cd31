"""asyncio: calls that end on the event loop, and work that stops with its task."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import CodecError, Pool

APP = Path(__file__).with_name("apps") / "awaited_app.py"
DEADLINE = 60.0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Two workers; at the end nothing is running or waiting."""
    with Pool(APP, workers=2, sandbox="none") as opened:
        yield opened
        wait_idle(opened)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run with a deadline."""
    return asyncio.run(asyncio.wait_for(main, 2 * DEADLINE))


def wait_idle(pool: Pool) -> None:
    """Until no call runs or waits."""
    deadline = time.monotonic() + DEADLINE
    while (stats := pool.stats())["calls_running"] + stats["calls_waiting"]:
        assert time.monotonic() < deadline, stats
        time.sleep(0.005)


async def until_exists(path: Path) -> int:
    """The process id in the file, as soon as there is one."""
    async with asyncio.timeout(DEADLINE):
        while not (path.exists() and path.read_text()):
            await asyncio.sleep(0.005)
    return int(path.read_text())


def wait_gone(pid: int) -> None:
    """Until the process is no more."""
    deadline = time.monotonic() + DEADLINE
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.005)


def eventfds() -> int:
    """How many event descriptors this process has: each loop that calls needs one."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventfd]"
    return count


# ---- acall ----


def test_a_call_is_awaited(pool: Pool) -> None:
    assert run(pool.acall("double", 21)) == 42


def test_keywords_go_through(pool: Pool) -> None:
    assert run(pool.acall("double", n=4)) == 8


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        ("fail", ("why",), KeyError),
        ("crash", (), pyproc.WorkerCrashed),
        ("nothing", (), pyproc.UnknownFunction),
        ("double", ("two",), pyproc.ValidationError),
        ("fail", (object(),), CodecError),
        ("end_of_iteration", (), pyproc.RemoteError),
    ],
)
def test_a_failure_is_raised_where_it_is_awaited(
    pool: Pool, function: str, args: tuple[Any, ...], expected: type[Exception]
) -> None:
    async def main() -> None:
        with pytest.raises(expected):
            await pool.acall(function, *args)
        assert await pool.acall("double", 1) == 2

    run(main())


def test_hundreds_of_calls_are_gathered_in_order(pool: Pool) -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*(pool.acall("double", n) for n in range(500))))

    assert run(main()) == [2 * n for n in range(500)]


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    async def main(pool: Pool) -> list[int]:
        return list(await asyncio.gather(*(pool.acall("double", n) for n in range(100))))

    with Pool(APP, workers=1, max_queue=3, sandbox="none") as pool:
        assert run(main(pool)) == [2 * n for n in range(100)]


def test_the_loop_goes_on_while_a_call_runs(pool: Pool) -> None:
    async def main() -> int:
        turns = 0
        task = asyncio.create_task(pool.acall("nap", 0.3))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        assert await task == 0.3
        return turns

    assert run(main()) > 100


def test_a_task_that_nobody_keeps_is_not_lost(pool: Pool) -> None:
    async def main() -> list[float]:
        ended: list[float] = []

        async def call() -> None:
            ended.append(await pool.acall("nap", 0.1))

        asyncio.ensure_future(call())  # noqa: RUF006
        async with asyncio.timeout(DEADLINE):
            while not ended:
                gc.collect()
                await asyncio.sleep(0.01)
        return ended

    assert run(main()) == [0.1]


def test_the_options_of_calls_hold_for_awaited_ones(pool: Pool) -> None:
    async def main() -> None:
        with pytest.raises(pyproc.TaskTimeout):
            await pool.options(timeout=0.2).acall("nap", 600)
        assert await pool.options(result_type=float).acall("double", 2) == 4.0

    run(main())


# ---- coroutine functions in workers ----


def test_a_coroutine_function_runs_in_the_worker(pool: Pool) -> None:
    assert pool.call("later", 1) == 2
    assert pool.submit("later", 2).result(DEADLINE) == 3
    assert run(pool.acall("later", 3)) == 4
    assert list(pool.map("later", range(50))) == list(range(1, 51))


def test_a_coroutine_function_may_gather(pool: Pool) -> None:
    assert pool.call("gathered", 20) == list(range(1, 21))


def test_a_coroutine_functions_failure_comes_back(pool: Pool) -> None:
    with pytest.raises(OSError, match="broken") as caught:
        pool.call("fail_later", "broken")
    assert caught.value.errno == 7


# ---- cancelling ----


def test_cancelling_the_task_stops_the_work(pool: Pool, tmp_path: Path) -> None:
    async def main() -> int:
        task = asyncio.create_task(pool.acall("mark_then_nap", str(tmp_path / "pid"), 600))
        pid = await until_exists(tmp_path / "pid")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    wait_gone(run(main()))


def test_a_call_cancelled_before_it_starts_never_runs(tmp_path: Path) -> None:
    async def main(pool: Pool) -> None:
        first = asyncio.create_task(pool.acall("mark_then_nap", str(tmp_path / "first"), 600))
        await until_exists(tmp_path / "first")
        second = asyncio.create_task(pool.acall("mark_then_nap", str(tmp_path / "second"), 0))
        while pool.stats()["calls_admitted"] < 2:
            await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        await asyncio.wait([first, second])
        assert await pool.acall("double", 1) == 2

    with Pool(APP, workers=1, sandbox="none") as pool:
        run(main(pool))
    assert not (tmp_path / "second").exists()


def test_a_timeout_of_asyncio_stops_the_work(pool: Pool, tmp_path: Path) -> None:
    async def main() -> int:
        task = asyncio.create_task(until_exists(tmp_path / "pid"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await pool.acall("mark_then_nap", str(tmp_path / "pid"), 600)
        return await task

    wait_gone(run(main()))


def test_a_failed_task_group_stops_its_other_calls(pool: Pool, tmp_path: Path) -> None:
    async def fails_later() -> None:
        await until_exists(tmp_path / "pid")
        await pool.acall("fail", "why")

    async def main() -> int:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(pool.acall("mark_then_nap", str(tmp_path / "pid"), 600))
                group.create_task(fails_later())
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        return await until_exists(tmp_path / "pid")

    wait_gone(run(main()))


def test_a_cancel_that_meets_the_answer_ends_the_call_once(pool: Pool) -> None:
    async def main() -> None:
        await asyncio.gather(*(pool.acall("double", n) for n in range(20)))
        answered = cancelled = 0
        for n in range(300):
            task = asyncio.create_task(pool.acall("double", n))
            for _ in range(n % 30):
                await asyncio.sleep(0)
            task.cancel()
            try:
                assert await task == 2 * n
                answered += 1
            except asyncio.CancelledError:
                cancelled += 1
        assert answered + cancelled == 300
        assert await pool.acall("double", 5) == 10

    run(main())


# ---- loops ----


def test_loops_in_many_threads_share_a_pool(pool: Pool) -> None:
    found: dict[int, list[int]] = {}

    async def main(start: int) -> list[int]:
        return list(
            await asyncio.gather(*(pool.acall("double", n) for n in range(start, start + 50)))
        )

    def work(start: int) -> None:
        found[start] = run(main(start))

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert found == {n: [2 * m for m in range(n, n + 50)] for n in range(0, 5000, 1000)}


def test_one_loop_after_another_takes_no_more_descriptors(pool: Pool) -> None:
    run(pool.acall("double", 1))
    before = eventfds()
    for n in range(50):
        assert run(pool.acall("double", n)) == 2 * n
    deadline = time.monotonic() + DEADLINE
    while eventfds() > before:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_closed_under_a_running_call_stops_it(pool: Pool, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # of the task destroyed while it was pending
    task = loop.create_task(pool.acall("mark_then_nap", str(tmp_path / "pid"), 600))
    pid = loop.run_until_complete(asyncio.wait_for(until_exists(tmp_path / "pid"), DEADLINE))
    loop.close()
    wait_gone(pid)
    assert run(pool.acall("double", 3)) == 6
    assert not task.done()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loops_closed_under_running_calls_give_their_descriptors_back(pool: Pool) -> None:
    run(pool.acall("double", 1))
    before = eventfds()
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        tasks = [loop.create_task(pool.acall("nap", 600)) for _ in range(3)]
        loop.run_until_complete(asyncio.sleep(0.02))
        loop.close()
        del loop, tasks
    deadline = time.monotonic() + DEADLINE
    while eventfds() > before:
        assert time.monotonic() < deadline
        assert run(pool.acall("double", 3)) == 6


def test_a_pool_is_closed_under_awaited_calls(tmp_path: Path) -> None:
    async def main() -> None:
        pool = Pool(APP, workers=1, sandbox="none")
        task = asyncio.create_task(pool.acall("mark_then_nap", str(tmp_path / "pid"), 600))
        await until_exists(tmp_path / "pid")
        pool.close(0)
        with pytest.raises(pyproc.PoolClosed):
            await task
        with pytest.raises(pyproc.PoolClosed):
            await pool.acall("double", 1)

    run(main())


def test_async_with_closes_the_pool_without_holding_the_loop(tmp_path: Path) -> None:
    async def main() -> Pool:
        async with Pool(APP, workers=1, sandbox="none") as pool:
            task = asyncio.create_task(pool.acall("nap", 0.3))
            while not pool.stats()["calls_admitted"]:
                await asyncio.sleep(0)
        assert await task == 0.3
        return pool

    with pytest.raises(pyproc.PoolClosed):
        run(main()).call("double", 1)


def test_an_error_inside_async_with_ends_the_calls_that_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with Pool(APP, workers=1, sandbox="none") as pool:
            task = asyncio.create_task(pool.acall("mark_then_nap", str(tmp_path / "pid"), 600))
            await until_exists(tmp_path / "pid")
            try:
                raise LookupError("inside")
            finally:
                task.add_done_callback(asyncio.Task.exception)

    with pytest.raises(LookupError, match="inside"):
        run(main())
