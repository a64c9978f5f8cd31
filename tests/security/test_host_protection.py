"""A rogue worker costs its own call only: the host stays flat, and others are not slowed."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import is_gone, wait_gone

from pyproc import Pool, ProtocolError, TaskKilled, TaskTimeout, WorkerExited

TESTS = Path(__file__).resolve().parents[1]
APP = Path(__file__).parent / "apps" / "rogue.py"
DEADLINE = 60.0
MIB = 2**20
both_ways = pytest.mark.parametrize("way", ["call", "submit"])


def opened(workers: int = 2, **options: Any) -> Pool:
    return Pool(APP, workers=workers, path=[str(TESTS), *sys.path], **options, sandbox="none")


def call(pool: Pool, way: str, function: str, *args: object) -> Any:
    """Calls in one of the two ways, with a deadline that only a hang meets."""
    calls = pool.options(timeout=DEADLINE)
    if way == "call":
        return calls.call(function, *args)
    return calls.submit(function, *args).result(DEADLINE)


def rss() -> int:
    """This process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def wait_until_descriptors_are(most: int) -> None:
    """Those of a dead worker go a little after the call has ended."""
    limit = time.monotonic() + DEADLINE
    while descriptors() > most:
        assert time.monotonic() < limit, f"{descriptors()} descriptors, {most} before"
        time.sleep(0.005)


@pytest.fixture(name="pool", scope="module")
def one_pool() -> Iterator[Pool]:
    """One pool for many attacks: each must leave it as good as new."""
    with opened(workers=1, output="drop") as pool:
        yield pool


@pytest.fixture(name="flat")
def flat_host(pool: Pool) -> Iterator[None]:
    """Memory and descriptors of the host are afterwards what they were."""
    assert pool.call("add", 1, 2) == 3
    memory, files = rss(), descriptors()
    yield
    assert pool.call("add", 1, 2) == 3
    wait_until_descriptors_are(files)
    assert rss() - memory < 64 * MIB


# ---- descriptors ----


@both_ways
@pytest.mark.parametrize("kind", ["sealed by nobody", "half sealed", "sparse", "oversized"])
@pytest.mark.usefixtures("flat")
def test_a_memory_file_in_an_answer_is_closed_and_ends_the_worker(
    pool: Pool, way: str, kind: str
) -> None:
    pid = pool.call("pid")
    with pytest.raises(ProtocolError, match="descriptor"):
        call(pool, way, "send_memory_file", kind)
    assert wait_gone({pid}) == set()


@both_ways
@pytest.mark.parametrize("channel", ["call", "event"])
@pytest.mark.usefixtures("flat")
def test_a_flood_of_descriptors_ends_with_its_worker(pool: Pool, way: str, channel: str) -> None:
    pid = pool.call("pid")
    with pytest.raises(ProtocolError):
        call(pool, way, "flood_descriptors", channel)
    assert wait_gone({pid}) == set()


# ---- answers that belong to another call, or to none ----


@both_ways
def test_an_answer_to_another_workers_call_never_reaches_it(way: str) -> None:
    with opened() as pool:
        victim = pool.submit("nap", 0.5)
        limit = time.monotonic() + DEADLINE
        while pool.stats()["calls_running"] == 0:
            assert time.monotonic() < limit
        own = pool.call("call_id")
        for near in (own - 1, own - 2):
            with pytest.raises(ProtocolError):
                call(pool, way, "answer_for", near, b"\xa6forged")
        assert victim.result(DEADLINE) != "forged"


@both_ways
@pytest.mark.usefixtures("flat")
def test_an_answer_is_not_taken_again_for_a_later_call(pool: Pool, way: str) -> None:
    assert call(pool, way, "remember") == 1
    pid = pool.call("pid")
    with pytest.raises(ProtocolError):
        call(pool, way, "replay")
    assert is_gone(pid)


@both_ways
@pytest.mark.usefixtures("flat")
def test_a_process_that_outlives_its_worker_answers_nobody(pool: Pool, way: str) -> None:
    with pytest.raises(WorkerExited) as caught:
        call(pool, way, "leave_an_answerer", 0.2)
    assert caught.value.exit_code == 7
    for number in range(20):
        assert call(pool, way, "add", number, 1) == number + 1


# ---- time ----


@both_ways
@pytest.mark.parametrize("kind", ["answer", "garbage"])
@pytest.mark.usefixtures("flat")
def test_a_dripped_answer_ends_at_the_calls_deadline(pool: Pool, way: str, kind: str) -> None:
    calls = pool.options(timeout=0.6)
    began = time.monotonic()
    with pytest.raises(TaskTimeout) as caught:
        if way == "call":
            calls.call("drip", kind, 0.1)
        else:
            calls.submit("drip", kind, 0.1).result(DEADLINE)
    assert caught.value.stage == "run"
    assert 0.6 <= time.monotonic() - began < 2.0


@both_ways
@pytest.mark.usefixtures("flat")
def test_a_dripped_answer_ends_without_a_deadline_too(pool: Pool, way: str) -> None:
    began = time.monotonic()
    with pytest.raises(ProtocolError) as caught:
        if way == "call":
            pool.call("drip", "garbage", 0.1)
        else:
            pool.submit("drip", "garbage", 0.1).result(DEADLINE)
    assert caught.value.cause == "protocol"
    assert time.monotonic() - began < 20.0


@pytest.mark.usefixtures("flat")
def test_an_answer_that_stops_half_way_ends_without_a_deadline(pool: Pool) -> None:
    futures = [pool.submit("drip", "garbage", 30.0)]
    with pytest.raises(ProtocolError):
        futures[0].result(DEADLINE)


@pytest.mark.usefixtures("flat")
def test_a_dripped_answer_can_be_killed(pool: Pool) -> None:
    future = pool.submit("drip", "answer", 0.1)
    limit = time.monotonic() + DEADLINE
    while pool.stats()["calls_running"] == 0:
        assert time.monotonic() < limit
    assert future.kill()
    with pytest.raises(TaskKilled):
        future.result(DEADLINE)


@pytest.mark.usefixtures("flat")
def test_dripped_records_hold_up_no_answer(pool: Pool) -> None:
    began = time.monotonic()
    assert pool.call("drip_records", 0.02, 0.5) == 1
    assert time.monotonic() - began < 5.0


# ---- others ----


def median(pool: Pool, seconds: float) -> float:
    """Of calls to whoever is free."""
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        assert pool.call("add", 1, 2) == 3
        took.append(time.perf_counter() - began)
    return sorted(took)[len(took) // 2]


@pytest.mark.parametrize("output", ["forward", "capture", "drop"])
@pytest.mark.parametrize("kind", ["records", "small records", "lines", "one line", "everything"])
def test_a_flood_slows_no_other_workers_calls_and_the_host_stays_flat(
    monkeypatch: pytest.MonkeyPatch, output: Any, kind: str
) -> None:
    logger = logging.getLogger("flood")  # pytest keeps every record that it sees
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    monkeypatch.setattr("pyproc.delivery._write", lambda *_: None)
    with opened(output=output) as pool:
        pool.call("add", 1, 2)
        busy = pool.submit("spin", 0.6)
        alone = median(pool, 0.5)
        busy.result(DEADLINE)
        memory, files = rss(), descriptors()
        flood = pool.submit("flood", kind)
        flooded = median(pool, 0.8)
        assert descriptors() <= files + 8  # the second worker's, when it came just now
        assert rss() - memory < 128 * MIB
        assert flood.kill()
        with pytest.raises(TaskKilled):
            flood.result(DEADLINE)
        assert pool.call("add", 1, 2) == 3
    assert flooded < 10 * alone + 0.001, f"{flooded * 1e6:.0f} us, alone {alone * 1e6:.0f} us"


def test_a_dripping_worker_slows_no_other() -> None:
    with opened() as pool:
        alone = median(pool, 0.3)
        drip = pool.submit("drip", "answer", 0.005)
        beside = median(pool, 0.5)
        assert drip.kill()
        with pytest.raises(TaskKilled):
            drip.result(DEADLINE)
    assert beside < 10 * alone + 0.001


def test_a_rogue_worker_spoils_no_other_workers_calls() -> None:
    """Attacks all the time beside calls that must all be right."""
    with opened() as pool:
        pool.call("remember")
        rogues = [
            pool.submit(*attack)
            for attack in (
                ("send_memory_file", "sparse"),
                ("answer_for", 5, b"\x2a"),
                ("flood_descriptors", "call"),
                ("leave_an_answerer", 0.05),
            )
            * 3
        ]
        good = [pool.submit("add", number, 1) for number in range(200)]
        wrong = [future.exception(DEADLINE) for future in good]
        answers = [future.result() for future in good if future.exception() is None]
        assert answers == [n + 1 for n in range(200) if wrong[n] is None]
        # A process that a call left behind may spoil the next call on its own worker.
        spoilt = [error for error in wrong if error is not None]
        assert all(isinstance(error, ProtocolError) for error in spoilt)
        assert len(spoilt) <= 3
        ends = [future.exception(DEADLINE) for future in rogues]
        assert {type(end) for end in ends} == {ProtocolError, WorkerExited}


@both_ways
@pytest.mark.parametrize(
    "kind",
    ["flood", "of another call", "too long", "of no kind", "no utf-8", "on the call channel"],
)
def test_events_that_no_worker_of_ours_would_send_end_it(pool: Pool, way: str, kind: str) -> None:
    assert pool.call("call_id") > 0
    before, known = descriptors(), len(pool.events())
    with pytest.raises(ProtocolError):
        call(pool, way, "event", kind)
    assert pool.call("call_id") > 0
    wait_until_descriptors_are(before)
    told = [event for event in pool.events()[known:] if event.kind == "violation"]
    assert len(told) <= 64
