"""Idle workers that may not live: asked by a Ping when something is suspicious, only then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import is_gone

from pyproc import Pool, Recycle, TaskTimeout, Timeouts

APPS = Path(__file__).parent / "apps"
APP = APPS / "breaking.py"
DEADLINE = 60.0


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(name="pool")
def two_workers() -> Iterator[Pool]:
    with Pool(APP, min_workers=2, max_workers=2, sandbox="none") as opened:
        until(lambda: opened.stats()["workers_idle"] == 2)
        yield opened


def until_asked(pool: Pool, times: int) -> None:
    until(lambda: pool.stats()["workers_pinged"] >= times)


def causes(pool: Pool) -> list[str]:
    return [event.detail for event in pool.events() if event.kind == "death"]


def loop_wakeups() -> int:
    """Times that the threads which look after pools have gone to sleep."""
    count = 0
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text() == "pyproc-loop\n":
            status = (task / "status").read_text()
            count += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


def test_an_idle_worker_that_is_stopped_is_replaced_before_anybody_calls(pool: Pool) -> None:
    pid = pool.workers()[0].pid
    os.kill(pid, signal.SIGSTOP)
    until(lambda: is_gone(pid))
    until(lambda: pool.stats()["workers_idle"] == 2)
    until(lambda: any("stopped" in cause for cause in causes(pool)))
    assert pool.stats()["calls_requeued"] == 0


def test_calls_do_not_meet_a_worker_that_was_stopped_while_idle(pool: Pool) -> None:
    for _ in range(5):
        before = pool.stats()["workers_pinged"]
        os.kill(pool.call("pid"), signal.SIGSTOP)
        until_asked(pool, before + 1)
        assert [pool.call("add", n) for n in range(50)] == list(range(50))
        assert list(pool.map("add", range(50))) == list(range(50))
        until(lambda: pool.stats()["workers_idle"] == 2)
    assert pool.stats()["calls_requeued"] == 0


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_to_a_worker_stopped_just_before_goes_to_another_within_its_time(
    pool: Pool, way: str
) -> None:
    os.kill(pool.call("pid"), signal.SIGSTOP)
    calls = pool.options(timeout=30)
    if way == "call":
        assert calls.call("add", 1, 2) == 3
    else:
        assert calls.submit("add", 1, 2).result(DEADLINE) == 3


def test_a_stop_that_is_taken_back_at_once_costs_nothing(pool: Pool) -> None:
    pids = {worker.pid for worker in pool.workers()}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
    for _ in range(20):
        assert pool.call("pid") in pids
    until(lambda: pool.stats()["workers_idle"] == 2)
    assert pool.stats()["workers_died"] == 0


def test_all_workers_stopped_at_once_are_replaced(pool: Pool) -> None:
    for worker in pool.workers():
        os.kill(worker.pid, signal.SIGSTOP)
    assert [pool.call("add", n) for n in range(20)] == list(range(20))


@pytest.mark.parametrize("max_tasks", [1, 3])
def test_stopped_workers_in_stock_cost_no_call(max_tasks: int) -> None:
    with Pool(APP, workers=2, recycle=Recycle(max_tasks=max_tasks), sandbox="none") as pool:
        for turn in range(3):
            assert pool.call("add", turn) == turn
            for worker in pool.workers():
                if worker.state == "ready":
                    os.kill(worker.pid, signal.SIGSTOP)
            assert [pool.call("add", n) for n in range(6)] == list(range(6))


def test_a_template_that_is_stopped_is_replaced_before_it_is_needed() -> None:
    with Pool(APP, workers=1, start_method="template", sandbox="none") as pool:
        keeper = pool._core.keeper_pid()
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        (template,) = {int(pid) for pid in children} - {pool.workers()[0].pid}
        os.kill(template, signal.SIGSTOP)
        until(lambda: is_gone(template))
        until(lambda: pool.stats()["templates_started"] == 2)
        os.kill(pool.workers()[0].pid, signal.SIGKILL)
        assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_worker_whose_call_had_to_be_stopped_is_asked_before_it_serves_again(way: str) -> None:
    with Pool(APPS / "stopping.py", workers=1, timeouts=Timeouts(grace=60), sandbox="none") as pool:
        calls = pool.options(timeout=0.05)
        pid = pool.call("pid")
        with pytest.raises(TaskTimeout):
            calls.call("nap", 60) if way == "call" else calls.submit("nap", 60).result(DEADLINE)
        assert pool.call("pid") == pid
        assert pool.stats()["workers_pinged"] == 1
        for _ in range(20):
            pool.call("pid")
        assert pool.stats()["workers_pinged"] == 1


def test_a_worker_that_does_not_answer_is_replaced(tmp_path: Path) -> None:
    with Pool(APPS / "stopping.py", min_workers=1, max_workers=1, sandbox="none") as pool:
        path = tmp_path / "now"
        for turn in range(1, 20):
            pid = pool.call("pid")
            pool.call("keep_the_gil_from", str(path))
            path.touch()
            until(lambda: not path.exists())
            os.kill(pid, signal.SIGSTOP)
            until_asked(pool, turn)
            os.kill(pid, signal.SIGCONT)  # too late on a slow machine: then it was ended as stopped
            assert pool.call("pid") != pid
            if any("silent" in cause for cause in causes(pool)):
                return
    raise AssertionError(causes(pool))


def test_nobody_is_asked_and_nothing_wakes_up_when_nothing_happened(pool: Pool) -> None:
    def sleeps() -> bool:
        before = loop_wakeups()
        time.sleep(1)
        return loop_wakeups() == before

    assert [pool.call("add", n) for n in range(100)] == list(range(100))
    assert list(pool.map("add", range(100))) == list(range(100))
    until(sleeps)
    assert pool.stats()["workers_pinged"] == 0
    os.kill(pool.workers()[0].pid, signal.SIGSTOP)
    until(lambda: pool.stats()["workers_died"] == 1 and pool.stats()["workers_idle"] == 2)
    until(sleeps)
