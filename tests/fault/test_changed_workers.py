"""A worker that becomes another program, or whose child would answer for it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, WorkerExited, WorkerKilled

APP = Path(__file__).parent / "apps" / "changing.py"
DEADLINE = 60.0


@pytest.fixture(name="pool")
def one_worker() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


def ask(pool: Pool, way: str, function: str, *args: object) -> object:
    if way == "call":
        return pool.call(function, *args)
    return pool.submit(function, *args).result(DEADLINE)


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_worker_that_becomes_another_program_costs_its_call(
    pool: Pool, way: str, seconds: int
) -> None:
    with pytest.raises(WorkerExited if seconds == 0 else WorkerKilled):
        ask(pool, way, "become", seconds)
    assert isinstance(pool.call("pid"), int)


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_forked_child_that_returns_does_not_answer_in_its_workers_place(
    pool: Pool, way: str
) -> None:
    pid = pool.call("pid")
    for _ in range(5):
        assert ask(pool, way, "answer_by_a_child") == pid
    assert pool.call("pid") == pid


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_forked_child_does_not_answer_for_a_worker_that_is_gone(pool: Pool, way: str) -> None:
    with pytest.raises(WorkerExited) as caught:
        ask(pool, way, "leave_it_to_a_child")
    assert caught.value.exit_code == 3
    assert isinstance(pool.call("pid"), int)


def test_sys_exit_in_a_thread_ends_the_thread_alone(pool: Pool) -> None:
    pid = pool.call("pid")
    assert pool.call("exit_in_a_thread") == pid


def test_a_hosts_own_children_are_its_own_beside_a_pool() -> None:
    program = textwrap.dedent(f"""
        import asyncio, os, signal, subprocess, sys, threading
        import pyproc

        heard = []
        signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))
        with pyproc.Pool({str(APP)!r}, workers=2, sandbox="none") as pool:
            calls = [pool.submit("pid") for _ in range(50)]
            assert subprocess.run([sys.executable, "-c", "raise SystemExit(7)"]).returncode == 7
            assert heard, "SIGCHLD did not reach the host's handler"

            async def main():
                made = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 5")
                assert await made.wait() == 5
                return await pool.acall("pid")

            assert asyncio.run(main()) > 0
            child = os.fork()
            if child == 0:
                os._exit(9)
            seen = {{}}
            while child not in seen:  # a loop of wait() as a supervisor has it
                pid, status = os.wait()
                seen[pid] = os.waitstatus_to_exitcode(status)
            assert seen == {{child: 9}}, seen
            assert all(call.result(60) > 0 for call in calls)
            for _ in range(5):
                os.kill(pool.call("pid"), signal.SIGKILL)
                assert pool.call("pid") > 0
        print("all well")
    """)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
    )
    assert (run.stdout, run.returncode) == ("all well\n", 0), run.stderr
