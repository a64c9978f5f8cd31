"""New code while calls go on: generations, failures, crashes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, Recycle, WorkerStartError

DEADLINE = 30.0
APP = """
import os, time
import pyproc

VERSION = {version}

@pyproc.expose
def version(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return VERSION

@pyproc.expose
def pid() -> int:
    return os.getpid()

@pyproc.expose
def die() -> None:
    os._exit(3)
"""
NEW = """
@pyproc.expose
def added() -> str:
    return "new"
"""


class Code:
    """The application, as it is on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(1)

    def write(self, version: int, more: str = "") -> None:
        self.path.write_text(APP.format(version=version) + more)


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path / "changing.py")


@pytest.fixture(params=["template", "exec", "auto"])
def pool(request: pytest.FixtureRequest, code: Code) -> Iterator[Pool]:
    with Pool(code.path, workers=2, start_method=request.param, sandbox="none") as pool:
        yield pool


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_after_a_reload_every_new_call_is_answered_by_new_code(pool: Pool, code: Code) -> None:
    assert pool.call("version") == 1
    code.write(2)
    pool.reload()
    assert {pool.submit("version").result(DEADLINE) for _ in range(10)} == {2}
    assert pool.call("version") == 2
    assert pool.stats()["generation"] == 2


def test_an_old_worker_ends_its_call_and_both_generations_are_visible(
    pool: Pool, code: Code
) -> None:
    slow = pool.submit("version", 2.0)
    wait_for(lambda: pool.stats()["workers_busy"] == 1, "the call does not run")
    code.write(2)
    pool.reload()
    assert pool.call("version") == 2
    assert {info.generation for info in pool.workers()} == {1, 2}
    assert not slow.done()
    assert slow.result(DEADLINE) == 1
    wait_for(lambda: {info.generation for info in pool.workers()} == {2}, "the old one stays")


def test_a_reload_shows_new_functions(pool: Pool, code: Code) -> None:
    assert "added" not in pool.functions()
    code.write(2, NEW)
    pool.reload()
    assert pool.call("added") == "new"
    assert "added" in pool.functions()


def test_code_that_does_not_start_leaves_everything_as_it_was(pool: Pool, code: Code) -> None:
    assert pool.call("version") == 1
    pids = {info.pid for info in pool.workers()}
    code.write(2, "raise RuntimeError('broken on purpose')\n")
    with pytest.raises(WorkerStartError, match="broken on purpose"):
        pool.reload()
    assert pool.call("version") == 1
    assert pool.stats()["generation"] == 1
    assert pids == {info.pid for info in pool.workers()}
    code.write(3)
    pool.reload()
    assert pool.call("version") == 3


def test_code_whose_workers_fail_after_the_fork_is_not_taken_either(tmp_path: Path) -> None:
    path = tmp_path / "hooked.py"
    hooked = """
import pyproc
app = pyproc.App()
@app.on_start
def start() -> None:
    if {broken}:
        raise OSError("no model file")
@app.expose
def version() -> int: return {version}
"""
    path.write_text(hooked.format(broken=False, version=1))
    with Pool(path, workers=2, start_method="template", sandbox="none") as pool:
        path.write_text(hooked.format(broken=True, version=2))
        with pytest.raises(WorkerStartError, match="no model file"):
            pool.reload()
        assert pool.call("version") == 1
        assert pool.stats()["generation"] == 1


def test_no_call_is_lost_while_code_is_reloaded_again_and_again(pool: Pool, code: Code) -> None:
    stop = threading.Event()
    seen: list[list[int]] = [[], [], []]
    ended: list[bool] = []  # without an error

    def work(mine: list[int]) -> None:
        while not stop.is_set():
            mine.append(pool.call("version"))
        ended.append(True)

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in seen]
    for thread in threads:
        thread.start()
    for version in range(2, 6):
        code.write(version)
        futures = [pool.submit("version") for _ in range(50)]
        pool.reload()
        assert pool.call("version") == version
        for future in futures:
            assert future.result(DEADLINE) in (version - 1, version)
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert ended == [True] * 3
    assert {version for mine in seen for version in mine} <= {1, 2, 3, 4, 5}


def test_reloads_of_many_threads_come_one_after_the_other(pool: Pool, code: Code) -> None:
    errors: list[BaseException] = []

    def reload() -> None:
        try:
            pool.reload()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=reload, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not errors
    assert pool.stats()["generation"] == 4


def test_a_reload_ends_while_workers_crash_all_the_time(pool: Pool, code: Code) -> None:
    stop = threading.Event()

    def crash() -> None:
        while not stop.is_set():
            with pytest.raises(pyproc.WorkerExited):
                pool.call("die")

    thread = threading.Thread(target=crash, daemon=True)
    thread.start()
    code.write(2)
    pool.reload(DEADLINE)
    assert pool.call("version") == 2
    stop.set()
    thread.join(DEADLINE)


def test_a_reload_that_takes_too_long_is_undone(pool: Pool, code: Code) -> None:
    code.write(2, "time.sleep(20)\n")
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match="reload"):
        pool.reload(timeout=0.3)
    assert time.monotonic() - begin < 5
    assert pool.call("version") == 1
    assert pool.stats()["generation"] == 1
    code.write(3)
    pool.reload()
    assert pool.call("version") == 3


def test_closing_during_a_reload_ends_both(code: Code) -> None:
    ends: list[BaseException] = []

    def reload(opened: Pool) -> None:
        try:
            opened.reload()
        except pyproc.Error as error:
            ends.append(error)

    with Pool(code.path, workers=2, sandbox="none") as opened:
        code.write(2, "time.sleep(20)\n")
        thread = threading.Thread(target=reload, args=(opened,), daemon=True)
        thread.start()
        time.sleep(0.2)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    thread.join(DEADLINE)
    assert [type(end) for end in ends] == [pyproc.PoolClosed]


def test_a_keeper_killed_during_a_reload_does_not_end_it(pool: Pool, code: Code) -> None:
    code.write(2, "time.sleep(0.5)\n")
    threading.Timer(0.25, os.kill, (pool._core.keeper_pid(), signal.SIGKILL)).start()
    pool.reload(DEADLINE)
    assert pool.call("version") == 2


def test_recycling_to_code_that_does_not_start_keeps_the_old_worker(code: Code) -> None:
    recycle = Recycle(max_age=0.2, jitter=0)
    with Pool(code.path, workers=1, start_method="exec", recycle=recycle, sandbox="none") as pool:
        pid = pool.call("pid")
        code.write(2, "raise RuntimeError('broken on purpose')\n")
        wait_for(lambda: pool.stats()["start_failures"] >= 2, "no replacement was tried")
        assert pool.call("pid") == pid
        code.write(3)
        wait_for(lambda: pool.call("version") == 3, "it does not recover")


def test_a_closed_pool_is_not_reloaded(code: Code) -> None:
    with Pool(code.path, workers=1, sandbox="none") as pool:
        pass
    with pytest.raises(pyproc.PoolClosed):
        pool.reload()


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("soon", TypeError)])
def test_a_wrong_timeout_is_refused(pool: Pool, timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout"):
        pool.reload(timeout)
