"""The stacks of a living worker: it goes on as if nobody had looked."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Pool, WorkerCrashed
from pyproc.cli import main

DEADLINE = 30.0
APP = """
import os, signal, time
import pyproc

@pyproc.expose
def work_in_here(path: str) -> int:
    n = 0
    while not os.path.exists(path):
        n += 1
    return 7

@pyproc.expose
def deaf() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [62])

@pyproc.expose
def die() -> None:
    os.abort()

@pyproc.expose
def double(n: int) -> int:
    return 2 * n
"""


def wait_for(condition: Callable[[], object]) -> None:
    """Waits for what another thread or process does."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The application."""
    (tmp_path / "looked_at.py").write_text(APP)
    return tmp_path / "looked_at.py"


@pytest.mark.parametrize("start_method", ["exec", "template"])
def test_a_busy_worker_says_where_it_is_and_its_call_goes_on(
    target: Path, tmp_path: Path, start_method: str
) -> None:
    options: dict[str, Any] = {"start_method": start_method, "sandbox": "none"}
    with Pool(target, workers=1, **options) as pool:
        future = pool.submit("work_in_here", str(tmp_path / "done"))
        wait_for(lambda: pool.workers()[0].state == "busy")
        for _ in range(20):
            wait_for(lambda: "work_in_here" in pool.dump(pool.workers()[0].id))
        assert not future.done()
        (tmp_path / "done").touch()
        assert future.result(DEADLINE) == 7
        assert "most recent call first" in pool.dump(pool.workers()[0].id)  # idle
        assert pool.call("double", 4) == 8
        assert "dump" in [event.kind for event in pool.events()]


def test_a_crash_after_a_look_shows_its_own_stack_only(target: Path) -> None:
    with Pool(target, workers=1, sandbox="none") as pool:
        pool.dump(pool.workers()[0].id)
        with pytest.raises(WorkerCrashed) as caught:
            pool.call("die")
        stack = caught.value.python_stack
        assert stack is not None
        assert stack.count("most recent call first") == 1
        assert "in die" in stack


def test_a_time_limit_after_a_look_still_stops_the_call_with_its_stack(
    target: Path, tmp_path: Path
) -> None:
    from pyproc import TaskTimeout

    with Pool(target, workers=1, sandbox="none") as pool:

        def look_and_wait() -> None:
            future = pool.options(timeout=1.0).submit("work_in_here", str(tmp_path / "never"))
            wait_for(lambda: any(worker.state == "busy" for worker in pool.workers()))
            pool.dump(next(worker.id for worker in pool.workers() if worker.state == "busy"))
            future.result(DEADLINE)

        error = killed_with_stack(TaskTimeout, look_and_wait)
        assert "work_in_here" in (error.python_stack or "")


def test_a_worker_that_cannot_answer_is_left_alone_and_the_reason_told(target: Path) -> None:
    with Pool(target, workers=1, sandbox="none") as pool:
        pid = pool.workers()[0].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_for(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text())
            with pytest.raises(ProcessLookupError, match="the process was stopped"):
                pool.dump(pool.workers()[0].id)
        finally:
            os.kill(pid, signal.SIGCONT)
        pool.call("deaf")
        with pytest.raises(ProcessLookupError, match="blocks the signal"):
            pool.dump(pool.workers()[0].id)
        assert pool.call("double", 1) == 2
        assert pool.workers()[0].pid == pid
        with pytest.raises(ProcessLookupError, match="no such worker"):
            pool.dump(12345)
        with pytest.raises(TypeError, match="number of a worker"):
            pool.dump("1")  # type: ignore[arg-type]


def test_many_looks_at_once_disturb_nothing(target: Path) -> None:
    with Pool(target, workers=2, sandbox="none") as pool:
        ended = threading.Event()
        seen: list[str] = []

        def look() -> None:
            while not ended.is_set():
                for worker in pool.workers():
                    try:
                        seen.append(pool.dump(worker.id))
                    except ProcessLookupError:
                        pass

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert list(pool.map("double", range(2000))) == [2 * n for n in range(2000)]
        for _ in range(200):
            assert pool.call("double", 3) == 6
        ended.set()
        for thread in threads:
            thread.join()
        assert pool.stats()["workers_died"] == 0
        assert seen


def test_the_command_prints_the_stacks(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "run" / "c.sock")
    with Pool(target, workers=1, control=place, sandbox="none") as pool:
        number = str(pool.workers()[0].id)
        assert main(["dump", number, "--control", place]) == 0
        assert "most recent call first" in capsys.readouterr().out
        assert main(["dump", "99", "--control", place, "--json"]) == 2
        assert "there is no worker 99" in json.loads(capsys.readouterr().out)["error"]
