"""Progress: from inside a call to whoever asks, and the bar of a map."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyproc
from pyproc import Pool, Progress, errors

APP = Path(__file__).with_name("apps") / "progress_app.py"
DEADLINE = 60.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


def wait_for(holds: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_future_knows_how_far_its_call_is(pool: Pool, tmp_path: Path) -> None:
    future = pool.submit("waits_at", str(tmp_path / "go"), 0.25)
    wait_for(future.progress)
    assert future.progress() == Progress(0.25, None, "")
    (tmp_path / "go").touch()
    future.result(DEADLINE)


def test_the_last_word_is_there_with_the_result(pool: Pool) -> None:
    future = pool.submit("steps", 1000)
    assert future.result(DEADLINE) == "done"
    assert future.progress() == Progress(1000, 1000, "step 1000")
    assert pool.submit("double", 1).progress() is None


@pytest.mark.parametrize("name", ["raises_after", "dies_after"])
def test_the_last_word_is_there_with_the_error(pool: Pool, name: str) -> None:
    future = pool.submit(name, 7)
    assert isinstance(future.exception(DEADLINE), LookupError | errors.WorkerCrashed)
    assert future.progress() == Progress(7, None, "")
    pool.call("double", 1)  # by the worker that replaces a dead one: it is none of the next test's


def test_a_function_is_called_with_each_step_and_the_last_one(pool: Pool) -> None:
    seen: list[Progress] = []
    assert pool.options(on_progress=seen.append).call("steps", 20, 0.01) == "done"
    assert [progress.done for progress in seen] == sorted({progress.done for progress in seen})
    assert len(seen) >= 3
    assert seen[-1] == Progress(20, 20, "step 20")


def test_a_flood_of_progress_is_told_now_and_then(pool: Pool) -> None:
    seen: list[Progress] = []
    begin = time.monotonic()
    pool.options(on_progress=seen.append).call("steps", 5000)
    assert seen[-1].done == 5000
    assert len(seen) <= (time.monotonic() - begin) / 0.02 + 2


def test_an_acall_tells_on_its_loop(pool: Pool) -> None:
    threads = []

    async def main() -> None:
        calls = pool.options(on_progress=lambda _: threads.append(threading.current_thread()))
        await calls.acall("asteps", 5)

    asyncio.run(main())
    assert set(threads) == {threading.current_thread()}


def test_a_stream_tells_its_reader(pool: Pool) -> None:
    seen: list[Progress] = []
    assert list(pool.options(on_progress=seen.append).stream("streamed", 100)) == list(range(100))
    assert seen[-1] == Progress(100, 100, "")


def test_a_function_that_fails_is_logged_and_costs_the_call_nothing(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Progress) -> None:
        raise ValueError("mine")

    assert pool.options(on_progress=fails).call("steps", 3) == "done"
    assert "on_progress failed" in caplog.text


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("none", TypeError),
        ("text", TypeError),
        ("list", TypeError),
        ("nan", ValueError),
        ("infinity", ValueError),
        ("huge", ValueError),
        ("negative", ValueError),
    ],
)
def test_what_is_no_progress_is_refused_in_the_function(
    pool: Pool, what: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"progress\(n=.*number"):
        pool.call("tells_odd", what)


def test_total_and_message_are_checked_as_well(pool: Pool) -> None:
    with pytest.raises(ValueError, match="total=-1"):
        pool.call("tells", 1, -1)
    with pytest.raises(TypeError, match="message"):
        pool.call("tells", 1, 2, 3)
    future = pool.submit("tells", 1, 2, "long " * 10_000)
    future.result(DEADLINE)
    progress = future.progress()
    assert progress is not None
    assert len(progress.message) <= 4096


def test_outside_of_a_call_it_says_so() -> None:
    with pytest.raises(pyproc.Error, match="run in a worker"):
        pyproc.progress(1)


def test_on_progress_must_be_a_function(pool: Pool) -> None:
    with pytest.raises(TypeError, match="on_progress=3"):
        pool.options(on_progress=3)  # type: ignore[arg-type]


def test_a_map_calls_a_function_with_each_item(pool: Pool) -> None:
    seen: list[tuple[int, int | None]] = []
    results = list(
        pool.map("double", range(50), progress=lambda done, total: seen.append((done, total)))
    )
    assert results == [2 * item for item in range(50)]
    assert seen == [(done, 50) for done in range(1, 51)]


@pytest.mark.parametrize("bar", [True, "tqdm", "rich"])
def test_a_bar_is_quiet_when_stderr_is_no_terminal(
    pool: Pool,
    bar: bool | str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = pytest.importorskip("rich" if bar == "rich" else "tqdm")
    if bar != "rich":
        monkeypatch.setattr(library.tqdm, "monitor_interval", 0)  # else it keeps a thread
    assert list(pool.map("double", range(20), progress=bar)) == [2 * item for item in range(20)]
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""


@pytest.mark.parametrize(("bar", "package"), [(True, "tqdm"), ("rich", "rich")])
def test_a_bar_that_is_not_installed_is_named(
    pool: Pool, bar: bool | str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (package, f"{package}.auto", f"{package}.console", f"{package}.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        pool.map("double", [1], progress=bar)
