"""A worker that breaks the protocol is killed, its call fails, the pool goes on."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import is_gone, wait_gone

from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "hostile.py"
DEADLINE = 60.0

GARBAGE = [
    "noise",
    "length above the limit",
    "length of 4 GiB",
    "empty frame",
    "json",
    "python frame",
    "no envelope field",
    "two envelope fields",
    "field cut short",
    "answer to a later call",
    "answer to an older call",
    "answer to call zero",
    "codec pickle",
    "codec unknown",
    "codec missing",
    "failure of unknown kind",
    "failure of no kind",
    "failure to start",
    "failure without nodes",
    "failure with bad utf-8",
    "failure with its own parent",
    "failure of unknown relation",
    "unasked part",
    "unasked return",
    "unasked pong",
    "a host's call",
    "a host's hello",
    "goodbye",
    "log on the call channel",
    "second hello",
]


def rss() -> int:
    """This process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def one_pool() -> Iterator[Pool]:
    """One pool for many attacks: each must leave it as good as new."""
    with Pool(APP, workers=1, sandbox="none") as pool:
        yield pool


@pytest.fixture
def shared(one_pool: Pool) -> Iterator[Pool]:
    """The same, which has its worker again when a test ends: what it holds is counted then."""
    yield one_pool
    assert one_pool.call("add", 1, 2) == 3  # one that looks idle may be about to end
    limit = time.monotonic() + DEADLINE
    while (stats := one_pool.stats())["workers_idle"] != 1 or stats["workers"] != 1:
        assert time.monotonic() < limit, stats
        time.sleep(0.005)


def call(pool: Pool, way: str, function: str, *args: object) -> Any:
    """Calls in one of the two ways, with a deadline that only a hang meets."""
    calls = pool.options(timeout=DEADLINE)
    if way == "call":
        return calls.call(function, *args)
    return calls.submit(function, *args).result(DEADLINE)


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_on_the_call_channel_kills_the_worker_and_fails_its_call(
    shared: Pool, way: str, kind: str
) -> None:
    pid = shared.call("pid")
    before = shared.stats()["protocol_errors"]
    with pytest.raises(errors.ProtocolError) as caught:
        call(shared, way, "send", kind)
    assert caught.value.pid == pid
    assert is_gone(pid)
    assert shared.stats()["protocol_errors"] == before + 1
    assert shared.call("add", 1, 2) == 3
    assert shared.submit("add", 1, 2).result(DEADLINE) == 3


@pytest.mark.parametrize("kind", ["noise", "empty frame", "json", "answer to call zero"])
def test_garbage_in_a_chunk_costs_one_item(shared: Pool, kind: str) -> None:
    ends = list(
        shared.map("send_if", [(n, kind) for n in range(6)], chunksize=3, return_exceptions=True)
    )
    assert [end for end in ends if not isinstance(end, Exception)] == [0, 1, 2, 4, 5]
    assert isinstance(ends[3], errors.ProtocolError)


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize(
    "data",
    [b"\xff" * 64, b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x02\x22\x00"],
    ids=["noise", "length", "empty frame", "an answer"],
)
def test_garbage_on_the_event_channel_kills_the_worker(shared: Pool, way: str, data: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        call(shared, way, "send_event", data)
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("kind", ["zeros", "one long frame", "events", "parts"])
def test_endless_bytes_end_with_the_worker_and_cost_little_memory(
    shared: Pool, way: str, kind: str
) -> None:
    before = rss()
    with pytest.raises(errors.ProtocolError):
        call(shared, way, "flood", kind)
    assert rss() - before < 96 * 2**20
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize("kind", ["stdout", "lines", "stderr"])
def test_endless_output_costs_little_memory(kind: str) -> None:
    with Pool(APP, workers=1, output="drop", sandbox="none") as pool:
        before = rss()
        with pytest.raises(errors.TaskTimeout):
            pool.options(timeout=1.5).call("flood", kind)
        assert rss() - before < 64 * 2**20
        assert pool.call("add", 1, 2) == 3


def test_endless_output_that_nobody_takes_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = threading.Event()
    monkeypatch.setattr("pyproc.delivery._write", lambda *_: taken.wait(DEADLINE))
    with Pool(APP, workers=1, sandbox="none") as pool:
        before = rss()
        try:
            with pytest.raises(errors.TaskTimeout):
                pool.options(timeout=1.5).call("flood", "lines")
            assert rss() - before < 96 * 2**20
            assert pool.call("add", 1, 2) == 3
            assert pool.stats()["output_dropped_bytes"] > 0
        finally:
            taken.set()


def test_a_flood_of_log_records_costs_little_memory_and_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("flood")
    monkeypatch.setattr(logger, "propagate", False)  # pytest keeps every record that it sees
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    with Pool(APP, workers=1, output="drop", sandbox="none") as pool:
        before = rss()
        assert pool.options(timeout=DEADLINE).call("log_flood", 3000) == 3000
        assert rss() - before < 64 * 2**20
        assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_worker_that_sends_descriptors_is_killed_and_they_are_closed(
    shared: Pool, way: str
) -> None:
    pid = shared.call("pid")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.ProtocolError, match="descriptor"):
        call(shared, way, "send_descriptors", 12)
    assert wait_gone({pid}) == set()
    assert shared.call("add", 1, 2) == 3
    limit = time.monotonic() + DEADLINE
    while len(os.listdir("/proc/self/fd")) > before:  # the old worker's go a little later
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_second_answer_kills_the_worker_and_never_becomes_another_calls(
    shared: Pool, way: str
) -> None:
    pid = shared.call("pid")
    try:
        assert call(shared, way, "answer_twice") == "first"
    except errors.ProtocolError:
        pass  # both were there when the first was looked at
    for n in range(20):
        try:
            assert call(shared, way, "add", n, 1) == n + 1
        except errors.ProtocolError:
            continue
    assert is_gone(pid)
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize(
    ("payload", "codec"),
    [
        (b"", 1),
        (b"\xc1", 1),
        (b"\xdd\xff\xff\xff\xff", 1),
        (b"\xdf\xff\xff\xff\xff", 2),
        (b"\x91" * 100_000 + b"\xc0", 1),
        (b"\x91" * 100_000 + b"\xc0", 2),
        (b"\xc0\xc0", 1),
        (b"\xa2\xff\xfe", 1),
        (b"\xc7\x04\x01\x80\x04N.", 2),
        (b"\xd4\x7f\x00", 2),
        (b"\xc7\x00\x80", 2),
    ],
    ids=[
        "nothing", "reserved byte", "huge array", "huge map", "deep", "deep rich", "two values",
        "bad utf-8", "ext of our own", "unknown ext", "reserved ext",
    ],
)  # fmt: skip
def test_a_payload_that_is_no_value_is_an_error_of_pyproc(
    shared: Pool, payload: bytes, codec: int
) -> None:
    with pytest.raises(errors.Error):
        shared.options(timeout=DEADLINE).call("answer", payload, codec)
    with pytest.raises(errors.Error):
        shared.options(timeout=DEADLINE).submit("answer", payload, codec).result(DEADLINE)
    shared.map("add", [1])


@pytest.mark.parametrize("how", ["mprotect", "map again"])
def test_the_page_that_the_host_writes_cannot_be_written_by_the_worker(
    shared: Pool, how: str
) -> None:
    assert shared.call("write_control", how) in (
        "Permission denied",
        "Operation not permitted",
        "No such file or directory",
    )


@pytest.mark.parametrize("name", ["control", "status"])
def test_shared_pages_cannot_be_made_smaller(shared: Pool, name: str) -> None:
    assert shared.call("shrink", name) != "smaller"
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_worker_that_scribbles_over_its_status_page_costs_its_own_call(
    shared: Pool, way: str
) -> None:
    with pytest.raises(errors.WorkerExited):
        call(shared, way, "scribble", "_exit")
    assert call(shared, way, "add", 1, 2) == 3


@pytest.mark.parametrize("function", ["scribble_item", "claim_items"])
def test_a_chunk_whose_worker_lies_about_its_items_ends_each_item_once(
    shared: Pool, function: str
) -> None:
    ends = list(shared.map(function, range(8), chunksize=8, return_exceptions=True))
    assert len(ends) == 8
    values = [end for end in ends if not isinstance(end, Exception)]
    assert set(values) <= {0, 1, 2, 4, 5, 6, 7}
    assert any(isinstance(end, errors.Error) for end in ends)
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize(
    "data", [b"\xff" * 65536, b"\0", b"\x1b[2Jsneaky\r\n" * 1000, b"A" * 70000]
)
def test_a_crash_file_of_any_bytes_is_text_of_bounded_size(shared: Pool, data: bytes) -> None:
    with pytest.raises(errors.WorkerDied) as caught:
        shared.call("write_crash_file", data)
    stack = caught.value.python_stack
    assert stack is None or len(stack) <= 65536
    assert shared.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_bytes_that_nobody_asked_for_cost_at_most_the_next_call(shared: Pool, way: str) -> None:
    pid = shared.call("pid")
    assert call(shared, way, "talk_later", 0.05) == "answered"
    ends: list[object] = []
    for _ in range(200):
        try:
            ends.append(call(shared, way, "nap", 0.002))
        except errors.ProtocolError as error:
            ends.append(error)
        if is_gone(pid):
            break
    assert is_gone(pid)
    assert sum(isinstance(end, errors.ProtocolError) for end in ends) <= 1
    assert shared.call("add", 1, 2) == 3
