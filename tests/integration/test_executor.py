"""pyproc.Executor: what is its own, beside what CPython's tests ask (tests/conformance)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import executor_tasks as tasks
import pytest

import pyproc
from pyproc import Executor, broken

ROOT = Path(__file__).parents[2]


@pytest.fixture
def executor() -> Iterator[Executor]:
    with Executor(2) as it:
        yield it


def test_a_crash_ends_one_call_and_is_the_standard_librarys_error_too(executor: Executor) -> None:
    crashed = executor.submit(tasks.die_at, 1, 1)
    with pytest.raises(BrokenProcessPool) as caught:
        crashed.result(30)
    assert isinstance(caught.value, pyproc.WorkerCrashed)
    assert caught.value.function == "die_at"
    assert "die_at" in str(caught.value)
    assert executor.submit(tasks.double, 4).result(30) == 8


@pytest.mark.parametrize("results", ["safe", "pickle"])
@pytest.mark.parametrize("chunksize", [1, 3, 7])
def test_a_crash_in_a_chunk_costs_one_item_even_when_nobody_iterates(
    results: Any, chunksize: int
) -> None:
    with Executor(2, results=results) as executor:
        got = executor.map(functools.partial(tasks.die_at, at=4), range(7), chunksize=chunksize)
        executor.shutdown()
        values: list[int] = []
        with pytest.raises(BrokenProcessPool):
            values.extend(got)
    assert values == [0, 1, 2, 3]


def test_functions_that_no_worker_could_import_go_by_value(executor: Executor) -> None:
    factor = 3

    def inner(value: int) -> int:
        return value * factor

    assert executor.submit(inner, 2).result(30) == 6
    assert executor.submit(lambda value: value + factor, 2).result(30) == 5
    assert list(executor.map(lambda value: value - 1, range(3))) == [-1, 0, 1]


def test_without_cloudpickle_such_a_function_is_refused_with_the_remedy(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    error = executor.submit(lambda: 1).exception(30)
    assert error is not None
    assert any("pip install cloudpickle" in note for note in error.__notes__)


def test_a_result_of_a_class_comes_back_when_the_function_names_it(executor: Executor) -> None:
    assert executor.submit(tasks.point, 2).result(30) == tasks.Point(2, 0)
    assert executor.submit(tasks.colours).result(30) == [tasks.Colour.RED]
    assert list(executor.map(tasks.point, [1, 2], chunksize=2))[1] == tasks.Point(2, 0)


def test_a_result_that_is_not_what_it_says_is_refused(executor: Executor) -> None:
    with pytest.raises(pyproc.ValidationError, match="result"):
        executor.submit(tasks.lie).result(30)


@pytest.mark.parametrize(
    ("function", "args"), [(tasks.vague, (1,)), (tasks.make, ("Plain", 1)), (iter, ([1],))]
)
def test_a_result_that_cannot_come_back_says_what_to_do(
    executor: Executor, function: Callable[..., object], args: tuple[Any, ...]
) -> None:
    with pytest.raises(pyproc.CodecError, match="results='pickle'"):
        executor.submit(function, *args).result(30)


def test_results_are_never_unpickled_unless_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with Executor(1) as executor:
        error = executor.submit(tasks.make, "Bomb", str(target)).exception(30)
        assert isinstance(error, pyproc.CodecError)
        assert not target.exists()


def test_with_pickle_anything_comes_back_and_exceptions_are_themselves() -> None:
    with Executor(1, results="pickle") as executor:
        made = executor.submit(tasks.make, "Plain", 3).result(30)
        assert isinstance(made, tasks.Plain)
        assert made.value == 3
        with pytest.raises(ZeroDivisionError) as caught:
            executor.submit(divmod, 1, 0).result(30)
        assert "ZeroDivisionError" in str(caught.value.__cause__)


def test_an_exception_that_cannot_be_made_again_is_a_remote_error() -> None:
    with Executor(1, results="pickle") as executor:
        with pytest.raises(pyproc.RemoteError, match="code 7"):
            executor.submit(tasks.odd, 7).result(30)
        with pytest.raises(broken.Unreadable, match="ZeroDivisionError"):
            executor.submit(tasks.make, "Exploding").result(30)
        assert executor.submit(tasks.double, 1).result(30) == 2


def test_a_task_that_cannot_be_pickled_fails_its_future_only(executor: Executor) -> None:
    bad: Any = tasks.Unsendable()
    error = executor.submit(tasks.double, bad).exception(30)
    assert isinstance(error, TypeError)
    assert "not this one" in str(error)
    results = executor.map(tasks.double, [1, tasks.Unsendable(), 3], chunksize=3)
    assert next(results) == 2
    with pytest.raises(TypeError):
        next(results)
    assert executor.submit(tasks.double, 1).result(30) == 2


def test_large_values_go_both_ways() -> None:
    with Executor(1, results="pickle") as executor:
        assert len(executor.submit(bytes.upper, b"a" * (40 * 2**20)).result(60)) == 40 * 2**20


def test_an_initializer_runs_in_each_worker_and_its_failure_ends_the_executor() -> None:
    with Executor(1, initializer=tasks.remember, initargs=("model",)) as executor:
        assert executor.submit(tasks.remembered).result(30) == ["model"]
    with Executor(1, initializer=tasks.fail) as executor:
        error = executor.submit(tasks.double, 1).exception(30)
        assert isinstance(error, BrokenProcessPool)
        assert "no model here" in str(error.__cause__)
        with pytest.raises(BrokenProcessPool):
            executor.submit(tasks.double, 1)


def test_a_worker_is_replaced_after_its_tasks() -> None:
    with Executor(1, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result(30) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_kill_stops_a_running_task_and_cancel_one_that_waits() -> None:
    with Executor(1) as executor:
        running = executor.submit(tasks.wait, 600)
        waiting = executor.submit(tasks.wait, 600)
        assert waiting.cancel()
        until = time.monotonic() + 30
        while not running.kill():  # it is just being sent
            assert time.monotonic() < until
        assert isinstance(running.exception(30), pyproc.TaskKilled)


@pytest.mark.parametrize("name", ["kill_workers", "terminate_workers"])
def test_all_workers_can_be_ended_at_once(name: str) -> None:
    executor = Executor(2)
    assert executor.submit(tasks.double, 1).result(30) == 2
    futures = [executor.submit(tasks.wait, 600) for _ in range(4)]
    getattr(executor, name)()
    assert all(isinstance(future.exception(30), BrokenProcessPool) for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.double, 1)


def test_an_executor_within_a_task(executor: Executor) -> None:
    assert executor.submit(tasks.nested, 4).result(60) == 8


def test_asyncio_takes_it_for_an_executor(executor: Executor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, tasks.double, 1)
        return list(
            await asyncio.gather(first, asyncio.wrap_future(executor.submit(tasks.double, 2)))
        )

    assert asyncio.run(main()) == [2, 4]


def test_wait_and_as_completed_take_its_futures(executor: Executor) -> None:
    futures = [executor.submit(tasks.double, value) for value in range(20)]
    assert not concurrent.futures.wait(futures, 30).not_done
    got = {future.result() for future in concurrent.futures.as_completed(futures, 30)}
    assert got == {value * 2 for value in range(20)}


def test_a_bounded_map_reads_no_further_ahead(executor: Executor) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = executor.map(tasks.double, endless(), buffersize=5)
    assert [next(results) for _ in range(10)] == [value * 2 for value in range(1, 11)]
    assert read <= 16
    results.close()  # type: ignore[attr-defined]


def test_limits_and_a_sandbox_pass_through(tmp_path: Path) -> None:
    limits = pyproc.Limits(cpu_time=60)
    timeouts = pyproc.Timeouts(task=0.5)
    with Executor(1, sandbox="baseline", limits=limits, timeouts=timeouts) as executor:
        assert executor.submit(tasks.double, 1).result(60) == 2
        assert isinstance(executor.submit(tasks.wait, 600).exception(60), pyproc.TaskTimeout)
        refused = executor.submit(tasks.touch, str(tmp_path / "made")).exception(60)
        assert isinstance(refused, OSError)
        # Landlock's word, or that of a mount that is read-only.
        assert refused.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"results": "yaml"}, ValueError, "results"),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child"),
        ({"max_tasks_per_child": "3"}, TypeError, "max_tasks_per_child"),
        ({"initializer": 3}, TypeError, "initializer"),
        ({"sandbox": "soft"}, ValueError, "sandbox"),
        ({"mp_context": get_context("fork")}, ValueError, "mp_context"),
        ({"mp_context": 3}, TypeError, "mp_context"),
        ({"output": "screen"}, ValueError, "output"),
        ({"cwd": "/no/such"}, FileNotFoundError, "cwd"),
    ],
)
def test_a_wrong_option_is_refused_at_once(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Executor(**options)


_AT_EXIT = """
import sys; sys.path[:] = {path!r}
import pyproc
def say(text):
    import time
    time.sleep(0.3)
    print(text, flush=True)
print("script")
executor = pyproc.Executor(1)
future = executor.submit(say, "done")
{more}
"""


@pytest.mark.parametrize("more", ["", "executor.shutdown(wait=False)", "del executor, future"])
def test_what_was_submitted_is_done_at_exit_and_the_script_is_run_once(
    more: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(_AT_EXIT.format(path=sys.path, more=more))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["script", "done"], "")


def test_a_forked_child_has_workers_of_its_own(executor: Executor) -> None:
    parent = executor.submit(os.getpid).result(30)
    pid = os.fork()
    if pid == 0:
        try:
            other = executor.submit(os.getpid).result(60)
            executor.shutdown()
            os._exit(0 if other != parent else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.submit(tasks.double, 1).result(30) == 2
