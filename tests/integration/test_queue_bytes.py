"""max_queue_bytes counts what waiting calls hold, wherever it lies."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyproc
from pyproc import Pool, QueueFull

APP = Path(__file__).parents[1] / "fault" / "apps" / "breaking.py"
DEADLINE = 60
SIZE = 700_000
MIB = 2**20

#: One value of SIZE bytes, as it may be passed.
VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(SIZE),
    "memoryview": lambda: memoryview(bytearray(SIZE)),
    "array": lambda: np.zeros(SIZE, "u1"),
    "array in no one piece": lambda: np.zeros((SIZE, 2), "u1")[:, 0],
}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(name="busy")
def with_a_call_that_runs() -> Iterator[Pool]:
    """One worker, which has something to do; the queue takes 1 MiB."""
    with Pool(APP, workers=1, max_queue_bytes="1MiB") as pool:
        running = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_waiting"] == 0)
        yield pool
        running.kill()


@pytest.mark.parametrize("kind", VALUES)
def test_a_large_value_in_shared_memory_counts(busy: Pool, kind: str) -> None:
    first = busy.submit("size", VALUES[kind]())
    assert SIZE < busy.stats()["queue_bytes"] < SIZE + 1000
    with pytest.raises(QueueFull, match="max_queue_bytes"):
        busy.submit("size", VALUES[kind]())
    assert busy.submit("size", bytes(7)).cancel()  # what is small has room
    assert first.cancel()
    assert busy.stats()["queue_bytes"] == 0
    assert busy.submit("size", VALUES[kind]()).cancel()


@pytest.mark.parametrize("source", [bytes(SIZE), io.BytesIO(bytes(SIZE))], ids=["bytes", "BytesIO"])
def test_a_file_of_bytes_counts(busy: Pool, source: Any) -> None:
    first = busy.submit("size", pyproc.File(source))
    assert busy.stats()["queue_bytes"] > SIZE
    assert first.cancel()


def test_memory_that_is_shared_on_purpose_does_not_count(busy: Pool) -> None:
    shared = pyproc.share(np.zeros(4 * MIB, "u1"))
    futures = [busy.submit("size", shared[: n * 1000]) for n in range(300, 340)]
    assert busy.stats()["queue_bytes"] < 10_000
    assert all(future.cancel() for future in futures)


def test_a_call_that_is_larger_than_the_bound_waits_alone(busy: Pool) -> None:
    large = busy.submit("size", bytes(3 * MIB))
    with pytest.raises(QueueFull):
        busy.submit("size", b"")
    assert large.cancel()


def test_a_map_of_large_values_waits_for_room_and_holds_no_more_than_the_bound() -> None:
    most = 0
    with Pool(APP, workers=1, max_queue_bytes="4MiB") as pool:

        def items() -> Iterator[bytes]:
            nonlocal most
            for n in range(30):
                most = max(most, pool.stats()["queue_bytes"])
                yield bytes([n]) * MIB

        assert list(pool.map("size", items(), chunksize=1, buffersize=30)) == [MIB] * 30
        assert most <= 4 * MIB


def test_an_attempt_of_a_retried_call_counts_once() -> None:
    retry = pyproc.Retry(max_attempts=2)
    with Pool(APP, workers=1, max_queue_bytes="1MiB", retry=retry) as pool:
        running = pool.submit("nap", 600)
        until(lambda: pool.stats()["calls_waiting"] == 0)
        first = pool.submit("size", bytes(SIZE))
        assert SIZE < pool.stats()["queue_bytes"] < SIZE + 1000
        running.kill()
        assert first.result(DEADLINE) == SIZE
        assert pool.stats()["queue_bytes"] == 0
