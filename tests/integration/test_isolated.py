"""@pyproc.isolated: one function whose calls run in a worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import isolated_tasks as tasks
import pytest
from hosts import python_path

import pyproc
from pyproc import _shared

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    for policy in list(_shared._policies.values()):
        policy.close()


def run_script(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    environment = os.environ | {"PYTHONPATH": python_path(ROOT, ROOT / "tests")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(script)],
        env=environment, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip


def test_a_call_runs_in_a_worker_and_local_runs_here() -> None:
    assert tasks.double(4) == 8
    assert tasks.pid() != os.getpid()
    assert tasks.pid.local() == os.getpid()
    assert tasks.double.submit(5).result(60) == 10
    assert tasks.Holder.held(2) == 20
    assert tasks.double.__name__ == "double"


def test_functions_with_the_same_options_share_workers_and_others_do_not() -> None:
    assert tasks.pid() == tasks.pid_again()
    assert tasks.pid() != tasks.pid_of_another_policy()


def test_in_a_worker_the_function_is_just_called() -> None:
    assert len(set(tasks.pids_inside())) == 1


def test_a_result_has_the_type_that_the_function_names() -> None:
    assert tasks.point(1) == tasks.Point(1, 2)
    assert tasks.point.submit(2).result(60) == tasks.Point(2, 3)
    assert asyncio.run(tasks.point.acall(3)) == tasks.Point(3, 4)


def test_an_async_function_stays_one() -> None:
    async def use() -> list[int]:
        return [await tasks.later(1), await tasks.later.acall(2)]

    assert asyncio.run(use()) == [2, 3]
    assert tasks.later.submit(3).result(60) == 4


def test_pickled_results_and_exceptions_are_themselves() -> None:
    assert tasks.pickled(3) == Path("3")
    assert tasks.pickled.submit(4).result(60) == Path("4")
    assert asyncio.run(tasks.pickled.acall(5)) == Path("5")
    with pytest.raises(LookupError) as caught:
        tasks.pickled(-1)
    assert caught.value.args == ("none", -1)


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="so it is"):
        tasks.fail("so it is")
    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(tasks.fail.acall("so it is"))


def test_a_crash_names_the_function_and_the_next_call_works() -> None:
    with pytest.raises(pyproc.WorkerCrashed) as caught:
        tasks.abort()
    assert caught.value.function == "abort"
    assert "'abort'" in str(caught.value)
    assert tasks.double(1) == 2


def test_a_timeout_is_of_the_function_though_the_pool_is_shared() -> None:
    with pytest.raises(pyproc.TaskTimeout):
        tasks.hang()
    with pytest.raises(pyproc.TaskTimeout):
        tasks.hang.submit().result(60)
    with pytest.raises(pyproc.TaskTimeout):
        asyncio.run(tasks.hang.acall())


def test_cancelling_the_awaiting_task_stops_the_work(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def use() -> None:
        task = asyncio.ensure_future(tasks.touch_and_hang.acall(str(mark)))
        until = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    assert mark.exists()
    assert tasks.double(2) == 4


def test_kill_stops_what_was_submitted(tmp_path: Path) -> None:
    future = tasks.touch_and_hang.submit(str(tmp_path / "mark"))
    until = time.monotonic() + 60
    while not (tmp_path / "mark").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert future.kill()
    with pytest.raises(pyproc.TaskKilled):
        future.result(60)


def test_many_threads_open_one_pool() -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(tasks.pid_of_another_policy()))
               for _ in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_after_close_the_next_call_starts_new_workers() -> None:
    before = tasks.pid()
    tasks.double.close()
    assert tasks.pid() != before


def test_a_closure_goes_by_value() -> None:
    pytest.importorskip("cloudpickle")
    factor = 3

    @pyproc.isolated
    def times(n: int) -> int:
        return factor * n

    assert times(4) == 12


def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    wrong: Any = tasks.double
    with pytest.raises(TypeError, match=r"double\(\): missing a required argument: 'n'"):
        wrong()
    with pytest.raises(TypeError, match="too many positional"):
        wrong.submit(1, 2).result(60)


def test_arguments_and_results_that_cannot_travel_say_so() -> None:
    with pytest.raises(Exception, match="pickle"):
        tasks.double(threading.Lock())  # type: ignore[arg-type]
    with pytest.raises(pyproc.CodecError, match="result"):
        tasks.unsendable()


def test_an_option_that_cannot_be_is_refused_by_the_decorator() -> None:
    with pytest.raises(ValueError, match="timeout"):
        pyproc.isolated(timeout=-1)
    with pytest.raises(ValueError, match="results"):
        pyproc.isolated(results="json")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="sandbox"):
        pyproc.isolated(sandbox="tight")
    with pytest.raises(ValueError, match="workers"):
        pyproc.isolated(max_workers=0)


def test_what_is_no_plain_function_is_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"Pool\.stream"):
        pyproc.isolated(numbers)
    with pytest.raises(TypeError, match="a function is needed"):
        pyproc.isolated(5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="isolated already"):
        pyproc.isolated(tasks.double)
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Thing:
            @pyproc.isolated
            def method(self) -> None: ...

    error = caught.value.__cause__ or caught.value
    assert "staticmethod" in str(error)


SCRIPT = """
import os
import pyproc

print("main runs", flush=True)

@pyproc.isolated
def half(n):
    return n / 2

@pyproc.isolated
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

print(half(3), fib(9))

@pyproc.isolated
def half(n):
    return n / 2 + 100

print(half(3))
pid = os.fork()
if pid == 0:
    print(half(5), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(half(7))
late = half.submit(9)
late.add_done_callback(lambda done: print("late", done.result()))
"""


def test_a_script_without_a_guard_runs_once_forks_and_ends_what_it_submitted(
    tmp_path: Path,
) -> None:
    pytest.importorskip("cloudpickle")
    done = run_script(tmp_path, SCRIPT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines.count("main runs") == 1
    assert "1.5 34" in lines
    assert "101.5" in lines
    assert "102.5" in lines
    assert "103.5" in lines
    assert "late 104.5" in lines
    assert done.stderr == ""
