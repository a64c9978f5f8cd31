"""Files of calls that die, wait, are cancelled or tried again: every descriptor is given back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import File, Pool, Retry, TaskKilled, WorkerExited

APP = Path(__file__).parent / "apps" / "files_app.py"
DEADLINE = 60.0
TEXT = b"what the file holds"


def leased(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return calls.call(*args, **kwargs)


def queued(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return calls.submit(*args, **kwargs).result(DEADLINE)


def awaited(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(calls.acall(*args, **kwargs))


Way = Callable[..., Any]
each_way = pytest.mark.parametrize("way", [leased, queued, awaited])


@pytest.fixture(name="pool", scope="module")
def opened() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pool.call("pid")
        yield pool


@pytest.fixture(name="path")
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    return path


def host_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_gate(path: Path) -> None:
    """Lets wait_for() return."""
    with open(path, "wb"):
        pass


@each_way
def test_a_worker_that_dies_takes_no_descriptor_of_the_host_along(
    pool: Pool, way: Way, path: Path
) -> None:
    pool.call("pid")
    with pytest.raises(WorkerExited):
        way(pool, "die", File(path))  # the next worker may use more descriptors, or fewer
    assert pool.call("read", File(path)) == TEXT
    before = host_descriptors()
    for _ in range(10):
        with pytest.raises(WorkerExited):
            way(pool, "die", File(path))
    assert pool.call("read", File(path)) == TEXT
    assert host_descriptors() <= before + 2


@each_way
def test_a_call_that_is_tried_again_has_the_whole_file_again(
    way: Way, path: Path, tmp_path: Path
) -> None:
    with (
        Pool(APP, workers=1, retry=Retry(max_attempts=2), sandbox="none") as pool,
        open(path, "rb") as file,
    ):
        pool.call("pid")
        marker = str(tmp_path / "marker")
        assert way(pool, "die_once", file, marker) == TEXT
        assert way(pool, "read", File(path)) == TEXT


def test_calls_that_never_start_give_their_descriptors_back(
    pool: Pool, path: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    before = host_descriptors()
    blocker = pool.submit("wait_for", str(gate))
    waiting = [pool.submit("read", File(path)) for _ in range(20)]
    late = [pool.options(queue_timeout=0.01).submit("read", File(path)) for _ in range(5)]
    assert host_descriptors() >= before + 20
    for future in waiting[:10]:
        assert future.cancel()
    for future in late:
        with pytest.raises(pyproc.TaskTimeout):
            future.result(DEADLINE)
    open_gate(gate)
    blocker.result(DEADLINE)
    assert [future.result(DEADLINE) for future in waiting[10:]] == [TEXT] * 10
    assert host_descriptors() <= before + 1


def test_a_killed_call_gives_its_descriptors_back(path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Pool(APP, workers=1, sandbox="none") as pool:
        pool.call("read", File(path))
        before = host_descriptors()
        blocker = pool.submit("wait_for", str(gate))
        waiting = pool.submit("read", File(path))
        assert blocker.kill()
        with pytest.raises(TaskKilled):
            blocker.result(DEADLINE)
        assert waiting.result(DEADLINE) == TEXT
        assert host_descriptors() <= before + 2


def test_a_refused_call_gives_its_descriptors_back(path: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Pool(APP, workers=1, max_queue=1, sandbox="none") as pool:
        pool.call("pid")
        blocker = pool.submit("wait_for", str(gate))
        while pool.stats()["calls_running"] == 0:
            pass
        last = pool.submit("read", File(path))
        before = host_descriptors()
        for _ in range(5):
            with pytest.raises(pyproc.QueueFull):
                pool.submit("read", File(path))
        assert host_descriptors() == before
        open_gate(gate)
        blocker.result(DEADLINE)
        assert last.result(DEADLINE) == TEXT
    with pytest.raises(pyproc.PoolClosed):
        pool.call("read", File(path))
    with pytest.raises(pyproc.PoolClosed):
        pool.submit("read", File(path))


def test_many_calls_with_files_and_without_go_side_by_side(path: Path) -> None:
    with Pool(APP, workers=2, sandbox="none") as pool:
        futures = []
        for number in range(200):
            source: Any = File(b"%d" % number) if number % 2 else File(path)
            futures.append(pool.submit("read", source))
            futures.append(pool.submit("only_bytes", bytes(number)))
        for number in range(200):
            expected = b"%d" % number if number % 2 else TEXT
            assert futures[2 * number].result(DEADLINE) == expected
            assert futures[2 * number + 1].result(DEADLINE) == number


def test_large_arguments_beside_files_arrive_whole(pool: Pool, path: Path) -> None:
    data = os.urandom(8 * 2**20)
    assert pool.call("write", File(path, "wb"), data) == len(data)
    assert pool.submit("write", File(path, "wb"), data).result(DEADLINE) == len(data)
    assert path.read_bytes() == data


def test_the_same_file_is_the_same_request_and_another_is_not(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(TEXT)
    with Pool(APP, workers=1, quarantine_after=2, sandbox="none") as pool:
        for _ in range(2):
            with pytest.raises(WorkerExited):
                pool.call("die", File(path))
        with pytest.raises(pyproc.TaskQuarantined):
            pool.call("die", File(path))
        with pytest.raises(WorkerExited):
            pool.call("die", File(other))
