"""A worker that breaks the rules of streams is killed; its stream fails, and the pool goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, errors

APPS = Path(__file__).parent / "apps"
APP = APPS / "hostile_streams.py"
DEADLINE = 60.0

KINDS = [
    "more items than credit",
    "a gap between items",
    "an item again",
    "an item of another call",
    "an end of another call",
    "an end with too many items",
    "an end with too few items",
    "items after the end",
    "two ends",
    "a value",
    "a part of a chunk",
    "credit from a worker",
    "a cancel from a worker",
    "progress on the call channel",
    "a frame without items",
    "pickled items",
]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, path=[str(APPS), *sys.path], sandbox="none") as opened:
        yield opened


def rss() -> int:
    """This process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def refused(pool: Pool, holds: int) -> None:
    """The host has counted a broken protocol more, and calls are answered by another worker."""
    deadline = time.monotonic() + DEADLINE
    while pool.stats()["protocol_errors"] == holds:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert pool.call("pid") > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_breaks_a_rule_ends_its_worker(pool: Pool, kind: str) -> None:
    before, held = pool.stats()["protocol_errors"], rss()
    if kind in ("items after the end", "two ends"):  # the stream itself has ended well
        assert len(list(pool.stream("misbehave", kind))) <= 1
    else:
        with pytest.raises(errors.ProtocolError):
            list(pool.stream("misbehave", kind))
    refused(pool, before)
    assert rss() < held + 32 * 2**20


@pytest.mark.parametrize("kind", ["more frames than credit", "more bytes than credit"])
def test_what_nobody_reads_is_bounded_by_the_credit(pool: Pool, kind: str) -> None:
    before, held = pool.stats()["protocol_errors"], rss()
    with pytest.raises(errors.ProtocolError), pool.stream("misbehave", kind) as stream:
        refused(pool, before)
        assert rss() < held + 32 * 2**20
        list(stream)


@pytest.mark.parametrize("name", ["stream_in_a_call", "end_of_a_call"])
@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_that_is_no_stream_gets_no_items(pool: Pool, name: str, way: str) -> None:
    before = pool.stats()["protocol_errors"]
    with pytest.raises(errors.ProtocolError):
        pool.call(name) if way == "call" else pool.submit(name).result(DEADLINE)
    refused(pool, before)


@pytest.mark.parametrize(
    "kind", ["a call to come", "no call", "NaN", "a negative number", "a long message"]
)
def test_progress_that_may_not_be_ends_the_worker(pool: Pool, kind: str) -> None:
    future = pool.submit("progress_of", kind)
    with pytest.raises(errors.ProtocolError):
        future.result(DEADLINE)
    assert future.progress() is None
    assert pool.call("pid") > 0


def test_a_flood_of_progress_leaves_memory_flat(pool: Pool) -> None:
    pool.submit("flood_of_progress", 0.1).result(DEADLINE)
    held = rss()
    future = pool.submit("flood_of_progress", 1.5)
    assert future.result(DEADLINE) == "done"
    progress = future.progress()
    assert progress is not None
    assert progress.done == 1
    assert rss() < held + 16 * 2**20


def test_bytes_that_are_no_items_end_the_stream(pool: Pool) -> None:
    stream = pool.stream("nonsense")
    with pytest.raises(errors.CodecError):
        next(stream)
    with pytest.raises(errors.ProtocolError):  # its own end does not fit what it sent
        stream.close()
    assert pool.call("pid") > 0
