"""What workers print and log, and that nothing they do to descriptors 0 to 2 breaks a call."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, WorkerExited

APPS = Path(__file__).with_name("apps")
sys.path.insert(0, str(APPS))
from output_app import MISDEEDS  # type: ignore[import-not-found]  # noqa: E402

TARGET = "output_app:app"
DEADLINE = 60.0
WHAT_PRINT_RAISES = (OSError, ValueError, RuntimeError, AttributeError, pyproc.RemoteError)


class Streams:
    """What the host's sys.stdout and sys.stderr got so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._out = self._err = ""

    def _read(self) -> None:
        out, err = self._capsys.readouterr()
        self._out += out
        self._err += err

    @property
    def out(self) -> str:
        self._read()
        return self._out

    @property
    def err(self) -> str:
        self._read()
        return self._err


@pytest.fixture
def streams(capsys: pytest.CaptureFixture[str]) -> Streams:
    return Streams(capsys)


def open_pool(workers: int = 1, **options: Any) -> Pool:
    return Pool(TARGET, workers=workers, path=[str(APPS)], **options, sandbox="none")


def wait_until(holds: Callable[[], object]) -> None:
    """With a deadline, since output comes on a way of its own."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- forwarding ----


def test_a_print_appears_while_the_pool_is_open(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("prints", "hello")
        wait_until(lambda: streams.out == "hello\n")
    assert streams.err == ""


def test_standard_error_appears_there(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("complains", "oh no")
        wait_until(lambda: streams.err == "oh no\n")
    assert streams.out == ""


def test_what_is_written_to_the_descriptor_appears(streams: Streams) -> None:
    with open_pool() as pool:
        assert pool.call("writes", 1, b"one\n") == 4
        assert pool.call("writes", 2, b"two\n") == 4
    assert (streams.out, streams.err) == ("one\n", "two\n")


def test_what_c_code_prints_appears(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("puts", b"from C")
    assert streams.out == "from C\n"


def test_what_a_workers_own_child_prints_appears(streams: Streams) -> None:
    with open_pool() as pool:
        assert pool.call("runs", ["/bin/sh", "-c", "echo out; echo err >&2"]) == 0
    assert (streams.out, streams.err) == ("out\n", "err\n")


def test_text_without_a_newline_appears_when_the_pool_is_closed(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("prints", "unfinished", end="")
    assert streams.out == "unfinished"


def test_the_last_words_of_a_dying_worker_appear(streams: Streams) -> None:
    with open_pool() as pool, pytest.raises(pyproc.WorkerExited):
        pool.call("prints_and_dies", "farewell")
    assert streams.out == "farewell"


@pytest.mark.parametrize("text", ["ü€😀", "\ud800", "a\0b", "tab\tand\rreturn", ""])
def test_odd_text_appears(streams: Streams, text: str) -> None:
    with open_pool() as pool:
        pool.call("prints", text)
    assert streams.out == text.encode("utf-8", "backslashreplace").decode() + "\n"


def test_bytes_that_are_no_text_do_no_harm(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("writes", 1, b"\xff\xfe\x80 visible\n")
        pool.call("writes", 1, b"next\n")
    assert " visible\n" in streams.out
    assert streams.out.endswith("next\n")


def test_much_output_comes_whole_and_in_order(streams: Streams) -> None:
    with open_pool() as pool:
        assert pool.call("prints_many", "w", 2000) == 2000
    assert [line.split("-")[1] for line in streams.out.splitlines()] == [
        str(n) for n in range(2000)
    ]


def test_a_flood_of_output_is_bounded_and_counted() -> None:
    class Slow(io.StringIO):
        """Takes nothing until it may."""

        def write(self, text: str) -> int:
            wait_until(lambda: flooded)
            return len(text)

    flooded = False
    before, sys.stdout = sys.stdout, Slow()
    try:
        with open_pool() as pool:
            for _ in range(4):
                assert pool.call("writes", 1, b"y" * 5_000_000) == 5_000_000
            wait_until(lambda: pool.stats()["output_dropped_bytes"])
            flooded = True
    finally:
        flooded = True
        sys.stdout = before


def test_a_line_without_an_end_does_not_grow_for_ever(streams: Streams) -> None:
    with open_pool() as pool:
        assert pool.call("writes", 1, b"z" * 1_000_000) == 1_000_000
        wait_until(lambda: len(streams.out) > 900_000)
    assert streams.out == "z" * 1_000_000


@pytest.mark.parametrize("function", ["prints_many", "writes_in_pieces"])
def test_lines_of_two_workers_are_never_mixed(streams: Streams, function: str) -> None:
    with open_pool(workers=2) as pool:
        for future in [pool.submit(function, word, 300) for word in ("aaaa", "bbbb") * 3]:
            future.result(DEADLINE)
    lines = streams.out.splitlines()
    assert len(lines) == 6 * 300
    assert all(len(set(re.sub(r"[-0-9]", "", line))) == 1 for line in lines)


def test_dropped_output_appears_nowhere(streams: Streams) -> None:
    with open_pool(output="drop") as pool:
        pool.call("prints", "hello")
        pool.call("complains", "oh no")
        assert pool.call("writes", 1, b"x" * 3_000_000) == 3_000_000
        assert pool.call("add", 1, 2) == 3
    assert (streams.out, streams.err) == ("", "")


def test_a_host_without_standard_output_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with open_pool() as pool:
        pool.call("prints", "hello")
        assert pool.call("add", 1, 2) == 3


def test_a_hosts_output_that_raises_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    monkeypatch.setattr(sys, "stdout", Broken())
    with open_pool() as pool:
        pool.call("prints", "hello")
        assert pool.submit("add", 1, 2).result(DEADLINE) == 3


# ---- input ----


def test_asking_for_input_fails_at_once(streams: Streams) -> None:
    with open_pool() as pool:
        with pytest.raises(EOFError):
            pool.options(timeout=DEADLINE).call("asks")
        assert pool.call("reads") == ""
    assert "your name? " in streams.out


# ---- descriptors 0 to 2 ----


@pytest.mark.parametrize("way", ["leased", "queued"])
@pytest.mark.parametrize("deed", MISDEEDS)
def test_a_misdeed_costs_no_call_and_no_worker(streams: Streams, deed: str, way: str) -> None:
    with open_pool() as pool:
        if way == "leased":
            pid = pool.call("misbehave", deed)
        else:
            pid = pool.submit("misbehave", deed).result(DEADLINE)
        assert [pool.call("add", n, 1) for n in range(20)] == list(range(1, 21))
        assert list(pool.map("double", range(3))) == [0, 2, 4]
        assert pool.call("misbehave", "replace_streams") == pid
        assert pool.stats()["workers_died"] == 0
        assert pool.stats()["protocol_errors"] == 0


@pytest.mark.parametrize("deed", MISDEEDS)
def test_printing_after_a_misdeed_at_most_fails_its_call(streams: Streams, deed: str) -> None:
    with open_pool() as pool:
        with contextlib.suppress(*WHAT_PRINT_RAISES):
            pool.call("misbehave_and_print", deed)
        assert pool.call("add", 1, 2) == 3
        assert pool.stats()["workers_died"] == 0


@pytest.mark.parametrize("deed", ["close_all", "close_by_closerange"])
def test_a_file_that_takes_a_closed_descriptor_keeps_what_is_written(
    streams: Streams, tmp_path: Path, deed: str
) -> None:
    with open_pool() as pool:
        pool.call("misbehave", deed)
        fd, name = pool.call("open_file_here", str(tmp_path / "file"))
        assert name == str(tmp_path / "file")
        assert fd in (0, 1, 2)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_crash_is_reported_whatever_became_of_standard_error(streams: Streams) -> None:
    with open_pool() as pool:
        pool.call("misbehave", "close_all")
        with pytest.raises(pyproc.WorkerCrashed) as caught:
            pool.call("crash")
        assert caught.value.signal == signal.SIGSEGV


# ---- captured ----


def test_captured_output_is_kept_and_not_shown(streams: Streams) -> None:
    with open_pool(output="capture") as pool:
        pool.call("prints", "one")
        pool.call("complains", "two")
        found = pool.captured()
        worker = pool.workers()[0].id
    assert ("one\n", "stdout", worker) in [(p.text, p.stream, p.worker_id) for p in found]
    assert "two" in "".join(p.text for p in found if p.stream == "stderr")
    assert (streams.out, streams.err) == ("", "")


def test_what_was_captured_is_given_once() -> None:
    with open_pool(output="capture") as pool:
        pool.call("prints", "one")
        pool.captured()
        assert pool.captured() == []


def test_all_that_ended_calls_printed_is_captured() -> None:
    with open_pool(output="capture") as pool:
        for n in range(50):
            pool.call("prints", f"line {n}")
            assert "".join(p.text for p in pool.captured()) == f"line {n}\n"


def test_the_last_words_of_a_dying_worker_are_captured() -> None:
    with open_pool(output="capture") as pool:
        with pytest.raises(WorkerExited):
            pool.call("prints_and_dies", "farewell")
        assert "farewell" in "".join(p.text for p in pool.captured())


def test_captured_output_is_bounded_and_counted() -> None:
    with open_pool(output="capture") as pool:
        for _ in range(12):
            pool.call("prints_many", "x", 3000)
        kept = sum(len(p.text) for p in pool.captured())
        assert kept <= 4 * 2**20
        printed = 12 * sum(len(f"x-{n}-\n") + 200 for n in range(3000))
        assert kept + pool.stats()["output_dropped_bytes"] == printed


def test_without_capturing_there_is_nothing_to_ask_for() -> None:
    with open_pool() as pool, pytest.raises(ValueError, match='output="capture"'):
        pool.captured()
