"""Streams through a served pool: credit, early close and errors, end to end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyproc
from pyproc.server import Server

TARGET = str(Path(__file__).resolve().parent / "apps" / "streamed.py")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A new pool for each test: some end its workers."""
    path = tmp_path / "run" / "s.sock"
    with pyproc.Pool(TARGET, workers=2, sandbox="none") as pool, Server(pool, path):
        yield path


@pytest.fixture
def client(served: Path) -> Iterator[pyproc.Client]:
    with pyproc.connect(served) as client:
        yield client


def appears(path: Path) -> bool:
    """Whether the file comes within a minute."""
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return path.exists()


def test_a_stream_yields_what_the_generator_makes(client: pyproc.Client) -> None:
    assert list(client.stream("count", 20_000)) == list(range(20_000))
    assert list(client.stream("count", 0)) == []


def test_large_items_come_whole_and_in_order(client: pyproc.Client) -> None:
    sizes = [len(item) for item in client.stream("blocks", 6, 3 * 2**20)]
    assert sizes == [3 * 2**20] * 6


def test_a_coroutine_reads_a_stream(client: pyproc.Client) -> None:
    async def read() -> list[int]:
        return [item async for item in client.astream("count", 3000)]

    assert asyncio.run(read()) == list(range(3000))


def test_two_streams_and_a_call_share_a_connection(client: pyproc.Client) -> None:
    first = client.stream("count", 100)
    with first:
        assert next(first) == 0
        assert client.call("pid") != os.getpid()
        assert list(first) == list(range(1, 100))


def test_the_generator_waits_for_a_reader_that_is_slow(
    client: pyproc.Client, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    with client.options(buffersize=5).stream("marks", str(made), 1000) as stream:
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        assert client.call("pid")  # whatever was on its way has come
        assert int(made.read_text()) <= 3 + 5 + 1


@pytest.mark.parametrize("way", ["close", "break", "disconnect"])
def test_leaving_early_runs_the_generators_finally(served: Path, tmp_path: Path, way: str) -> None:
    done = tmp_path / "done"
    with pyproc.connect(served) as client:
        stream = client.stream("endless", str(done))
        for item in stream:
            assert item == 0
            break
        if way == "close":
            stream.close()
            assert done.exists()
        elif way == "break":
            del stream
        else:
            client.close(0)
        assert appears(done)


def test_cancelling_the_reading_task_closes_the_generator(
    client: pyproc.Client, tmp_path: Path
) -> None:
    done = tmp_path / "done"

    async def read() -> None:
        async for _ in client.astream("stalls", str(done)):
            pass

    async def main() -> None:
        task = asyncio.create_task(read())
        assert await asyncio.to_thread(appears, done.with_suffix(".begun"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert appears(done)


def test_items_before_an_error_come_before_it(client: pyproc.Client) -> None:
    got = []
    with pytest.raises(ValueError, match="the function raised"):
        for item in client.stream("fails", 7):
            got += [item]
    assert got == list(range(7))


def test_a_crash_ends_the_stream_after_the_items_that_were_made(client: pyproc.Client) -> None:
    got = []
    with pytest.raises(pyproc.WorkerCrashed):
        for item in client.stream("crashes", 5):
            got += [item]
    assert got == list(range(5))


def test_a_stream_ends_with_its_time_limit(client: pyproc.Client, tmp_path: Path) -> None:
    with pytest.raises(pyproc.TaskTimeout):
        list(client.options(timeout=0.3).stream("stalls", str(tmp_path / "a")))
    with pytest.raises(pyproc.TaskTimeout):
        list(client.options(item_timeout=0.3).stream("stalls", str(tmp_path / "b")))


def test_a_plain_function_is_no_stream_and_a_generator_no_call(client: pyproc.Client) -> None:
    with pytest.raises(TypeError):
        list(client.stream("pid"))
    with pytest.raises(TypeError):
        client.call("count", 3)


def test_a_stream_that_waits_for_a_worker_is_closed_without_one(
    client: pyproc.Client, tmp_path: Path
) -> None:
    few = client.options(buffersize=1)
    with few.stream("count", 10) as one, few.stream("count", 10) as two:
        assert next(one) == next(two) == 0
        with client.stream("endless", str(tmp_path / "no")) as third:
            third.close()
    assert not (tmp_path / "no").exists()
