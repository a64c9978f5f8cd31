"""A worker that lies about memory: its call fails, the host reads nothing else, nothing is left."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import is_gone

from pyproc import CodecError, Pool, ProtocolError

APP = Path(__file__).parent / "apps" / "hostile_memory.py"
DEADLINE = 60.0
HEAD = struct.Struct(">BBQQB")
GRANTED = 4096


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, timeouts=None, sandbox="none") as opened:
        yield opened


def ways(pool: Pool, function: str, *args: object) -> Iterator[BaseException]:
    """How both ways of a call end."""
    calls = pool.options(timeout=DEADLINE)
    for call in (calls.call, lambda *a: calls.submit(*a).result(DEADLINE)):
        with pytest.raises((ProtocolError, CodecError)) as caught:
            call(function, *args)
        yield caught.value


def test_a_flood_of_requests_ends_the_worker_and_leaves_nothing(pool: Pool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for error in ways(pool, "flood", 1000):
        assert isinstance(error, ProtocolError)
        assert error.pid is not None
        assert is_gone(error.pid)
    assert pool.call("add", 1, 2) == 3
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_request_for_another_call_ends_the_worker(pool: Pool) -> None:
    for error in ways(pool, "ask_for_another"):
        assert isinstance(error, ProtocolError)


def test_memory_that_was_never_filled_is_zeros_of_its_size(pool: Pool) -> None:
    calls = pool.options(timeout=DEADLINE)
    assert calls.call("answer", HEAD.pack(0, 0, 0, GRANTED, 0), GRANTED) == bytes(GRANTED)
