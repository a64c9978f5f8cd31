"""What workers print and log, and that nothing they do to descriptors 0 to 2 matters."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyproc import Pool

APP = Path(__file__).with_name("apps") / "talking_app.py"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1) as opened:
        yield opened


class Seen:
    """What came to the host's streams so far, waited for."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            out, err = self._capsys.readouterr()
            self.out += out
            self.err += err
            if holds():
                return
            assert time.monotonic() < deadline, f"{what}: {self.out[-2000:]!r} {self.err[-2000:]!r}"
            time.sleep(0.01)


@pytest.fixture
def seen(capsys: pytest.CaptureFixture[str]) -> Seen:
    return Seen(capsys)


def test_what_a_worker_prints_is_shown_by_the_host(pool: Pool, seen: Seen) -> None:
    pool.call("show", "to the user\nü€")
    pool.call("complain", "to stderr")
    seen.until(lambda: "to the user\nü€\n" in seen.out, "stdout")
    seen.until(lambda: "to stderr\n" in seen.err, "stderr")


def test_writes_to_the_descriptor_and_by_c_are_shown(pool: Pool, seen: Seen) -> None:
    pool.call("raw", "raw line\n")
    seen.until(lambda: "raw line\n" in seen.out, "stdout")
    pool.call("raw", "raw error\n", fd=2)
    seen.until(lambda: "raw error\n" in seen.err, "stderr")


def test_an_unfinished_line_is_shown_when_the_pool_ends(seen: Seen) -> None:
    with Pool(APP, workers=1) as pool:
        pool.call("raw", "no newline")
    seen.until(lambda: "no newline" in seen.out, "stdout")


def test_lines_of_two_workers_are_never_mixed(seen: Seen) -> None:
    with Pool(APP, min_workers=2, max_workers=2) as pool:
        futures = [pool.submit("lines", name, 500) for name in ("one", "two")]
        for future in futures:
            future.result(60)
    seen.until(lambda: seen.out.count("\n") >= 1000, "stdout")
    assert sorted(seen.out.splitlines()) == sorted(
        f"{name} {n} " + "." * 200 for name in ("one", "two") for n in range(500)
    )


def test_dropped_output_goes_nowhere(seen: Seen) -> None:
    with Pool(APP, workers=1, output="drop") as pool:
        pool.call("show", "hidden")
        pool.call("raw", "x" * 1_000_000)
        assert pool.call("add", 1, 2) == 3
    seen.until(lambda: True, "")
    assert "hidden" not in seen.out


def test_much_output_stops_nobody(pool: Pool, seen: Seen) -> None:
    assert pool.call("raw", "y" * 3_000_000 + "\n") == 3_000_001
    assert pool.call("add", 1, 2) == 3
    pool.call("show", "the end")
    seen.until(lambda: "the end\n" in seen.out, "stdout")


@pytest.mark.parametrize(
    "how",
    ["close", "closerange", "dup2", "reuse", "garbage", "stdout", "none", "closed", "raising"],
)
@pytest.mark.parametrize("way", ["call", "submit"])
def test_the_standard_descriptors_are_not_the_protocols(pool: Pool, how: str, way: str) -> None:
    pid = pool.call("pid")
    done = pool.call("abuse", how) if way == "call" else pool.submit("abuse", how).result(60)
    assert done == how
    assert pool.call("add", 1, 2) == 3
    assert list(pool.map("later", range(5))) == list(range(5))
    assert pool.call("pid") == pid


def test_reading_the_standard_input_is_an_end_of_file(pool: Pool) -> None:
    with pytest.raises(EOFError):
        pool.call("ask")


def test_log_records_reach_the_hosts_logger(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        pool.call("log", "shop.cart", logging.WARNING, "careful")
        pool.call("log_failure")
        deadline = time.monotonic() + 30
        while len(caplog.records) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    first, second = caplog.records
    assert (first.name, first.levelno, first.getMessage()) == ("shop.cart", 30, "careful")
    assert second.getMessage().startswith("it failed")
    assert "ValueError: inside" in second.getMessage() + str(second.exc_text)
    assert vars(first)["pyproc_worker"] == 1
