"""The Python stack of a worker at its death, or why there is none."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Pool, Timeouts, errors

APP = Path(__file__).parent / "apps" / "stopping.py"
DEADLINE = 60.0


@pytest.fixture(name="pool", scope="module", params=["template", "exec"])
def running(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with Pool(APP, workers=1, start_method=request.param, sandbox="none") as opened:
        yield opened


@pytest.fixture(autouse=True)
def settled(pool: Pool) -> Iterator[None]:
    """The next test's leaks are counted from a worker that is there."""
    yield
    assert isinstance(pool.call("pid"), int)


def stack_of(error: errors._Facts) -> str:
    assert error.python_stack is not None, error.python_stack_missing
    assert error.python_stack_missing is None
    return error.python_stack


FATAL = [
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGSYS,
]


@pytest.mark.parametrize("number", FATAL, ids=lambda number: number.name)
def test_a_fatal_signal_leaves_a_stack(pool: Pool, number: signal.Signals) -> None:
    with pytest.raises(errors.WorkerCrashed) as caught:
        pool.call("die", int(number))
    assert caught.value.signal == number
    assert "in die" in stack_of(caught.value)


def test_a_crash_in_a_thread_shows_that_thread(pool: Pool) -> None:
    with pytest.raises(errors.WorkerCrashed) as caught:
        pool.call("die_in_a_thread")
    assert "in crash_here" in stack_of(caught.value)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_stack_that_overflows_can_still_be_told(pool: Pool, in_thread: bool) -> None:
    with pytest.raises(errors.WorkerCrashed) as caught:
        pool.call("overflow", in_thread)
    assert caught.value.signal == signal.SIGSEGV
    assert "in compare" in stack_of(caught.value)


def test_a_library_that_enables_faulthandler_does_not_take_the_stack_away(pool: Pool) -> None:
    with pytest.raises(errors.WorkerCrashed) as caught:
        pool.call("die_after_a_library_enabled_faulthandler")
    assert "in die_after" in stack_of(caught.value)


HANGS = [
    ("nap", (60,)),
    ("backtrack", ()),
    ("hold_the_gil", ()),
    ("ignore_sigterm", ()),
    ("hang_in_a_thread", ()),
]


@pytest.mark.parametrize(("function", "args"), HANGS, ids=[name for name, _ in HANGS])
def test_a_timeout_shows_where_the_call_hung(
    pool: Pool, function: str, args: tuple[Any, ...]
) -> None:
    calls = pool.options(timeout=0.3)
    error = killed_with_stack(errors.TaskTimeout, lambda: calls.call(function, *args))
    assert error.stage == "run"
    assert f"in {function}" in stack_of(error)


def test_a_killed_future_shows_where_it_was(pool: Pool) -> None:
    def kill_one() -> None:
        future = pool.submit("nap", 60)
        time.sleep(0.3)
        assert future.kill()
        future.result(DEADLINE)

    assert "in nap" in stack_of(killed_with_stack(errors.TaskKilled, kill_one))


@pytest.mark.parametrize(
    ("function", "reason"),
    [("stop_myself", "was stopped"), ("block_signals", "blocks the signal")],
)
def test_a_worker_that_cannot_tell_is_killed_all_the_same(
    pool: Pool, function: str, reason: str
) -> None:
    started = time.monotonic()
    with pytest.raises(errors.TaskTimeout) as caught:
        pool.options(timeout=0.3).call(function)
    assert time.monotonic() - started < 5
    assert caught.value.python_stack is None
    assert reason in (caught.value.python_stack_missing or "")


def test_a_worker_killed_from_outside_says_why_there_is_no_stack(pool: Pool) -> None:
    with pytest.raises(errors.WorkerKilled) as caught:
        pool.call("die", int(signal.SIGKILL))
    assert caught.value.python_stack is None
    assert "SIGKILL" in (caught.value.python_stack_missing or "")


def test_an_import_that_hangs_shows_where(tmp_path: Path) -> None:
    app = tmp_path / "hanging.py"
    app.write_text("import time\ndef hang_here():\n    time.sleep(60)\nhang_here()\n")
    with pytest.raises(errors.WorkerStartError) as caught:
        Pool(app, workers=1, timeouts=Timeouts(start=1), sandbox="none")
    assert "in hang_here" in stack_of(caught.value)
