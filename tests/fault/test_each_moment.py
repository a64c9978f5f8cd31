"""A fault at each moment: of a frame, of a call's life, of a worker's life."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import descendants, parents

from pyproc import (
    Limits,
    Pool,
    Recycle,
    TaskKilled,
    WorkerDied,
    WorkerExited,
    WorkerKilled,
    WorkerStartError,
    errors,
)

HOSTILE = Path(__file__).parent / "apps" / "hostile.py"
DEADLINE = 60.0
WHOLE = 10**6


@pytest.fixture(name="pool", scope="module")
def hostile() -> Iterator[Pool]:
    with Pool(HOSTILE, workers=1, sandbox="none") as opened:
        yield opened


# ---- frames ----


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("then", ["exit", "close"])
def test_an_answer_cut_at_any_byte_is_a_death_and_costs_no_other_call(
    pool: Pool, way: str, then: str
) -> None:
    calls = pool.options(timeout=DEADLINE)
    whole = pool.call("cut", WHOLE, then)
    # A worker that only closes its channel is killed after a second: not at each byte, then.
    lengths = range(whole) if then == "exit" else (0, 3, 4, whole - 1)
    for length in lengths:
        with pytest.raises((WorkerExited, WorkerKilled)):
            if way == "call":
                calls.call("cut", length, then)
            else:
                calls.submit("cut", length, then).result(DEADLINE)
        assert pool.call("add", length, 1) == length + 1


def test_a_record_cut_at_any_byte_costs_no_other_call(pool: Pool) -> None:
    for length in range(pool.call("cut_event", WHOLE)):
        with pytest.raises(WorkerExited):
            pool.call("cut_event", length)
        assert pool.call("add", length, 1) == length + 1


def test_full_buffers_in_both_directions_hold_nothing_up(pool: Pool) -> None:
    """More is written ahead, and more is answered, than the sockets hold."""
    datas = [bytes([n]) * 2_000_000 for n in range(40)]
    futures = [pool.submit("same", data) for data in datas]
    assert [future.result(DEADLINE) for future in futures] == datas


# ---- the life of a call ----


def kill_worker(pool: Pool, number: int = signal.SIGKILL) -> None:
    for worker in pool.workers():
        if worker.pid:
            os.kill(worker.pid, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_killed_at_any_moment_of_a_large_call_costs_that_call_at_most(
    pool: Pool, number: int
) -> None:
    data = b"x" * 4_000_000
    for step in range(25):
        pool.call("add", 1, 2)
        future = pool.submit("same", data)
        time.sleep(step * 0.0004)
        kill_worker(pool, number)
        raised = future.exception(DEADLINE)
        if raised is None:
            assert future.result() == data
        else:
            assert isinstance(raised, WorkerDied)
            assert raised.signal == number
        assert pool.call("add", step, 1) == step + 1


def test_a_call_that_waits_outlives_every_worker(pool: Pool, tmp_path: Path) -> None:
    nap = pool.submit("tell", str(tmp_path / "started"), 3600.0)
    waiting = [pool.submit("add", n, 1) for n in range(20)]
    limit = time.monotonic() + DEADLINE
    while not (tmp_path / "started").exists():
        assert time.monotonic() < limit
        time.sleep(0.005)
    kill_worker(pool)
    with pytest.raises(WorkerKilled):
        nap.result(DEADLINE)
    assert [future.result(DEADLINE) for future in waiting] == list(range(1, 21))


def test_a_call_cancelled_at_any_moment_ends_once_and_costs_no_other_call(pool: Pool) -> None:
    for step in range(25):
        future = pool.submit("nap", 0.004)
        time.sleep(step * 0.0003)
        stopped = future.kill()
        try:
            assert future.result(DEADLINE) == 0.004
        except TaskKilled:
            assert stopped
        assert pool.call("add", step, 1) == step + 1


# ---- the life of a worker ----


def write_app(folder: Path, slow: str) -> Path:
    """An app that is slow at one moment of a worker's start: import, warmup or start."""
    nap = f"    open({str(folder / 'seen')!r}, 'a').close(); time.sleep(0.4)\n"
    parts = {name: nap if name == slow else "    pass\n" for name in ("import", "warmup", "start")}
    text = (
        "import os, time, pyproc\napp = pyproc.App()\nif True:\n"
        + parts["import"]
        + "@app.on_warmup\ndef warm() -> None:\n"
        + parts["warmup"]
        + "@app.on_start\ndef start() -> None:\n"
        + parts["start"]
        + "@app.expose\ndef add(a: int, b: int) -> int:\n    return a + b\n"
    )
    path = folder / "slow_app.py"
    path.write_text(text)
    return path


def newborns(pool: Pool) -> set[int]:
    """Processes of the pool but its keeper: workers and templates, ready or not."""
    keeper = pool._core.keeper_pid()
    return {pid for pid, parent in parents().items() if parent == keeper}


def strike(pids: set[int]) -> None:
    """Kills those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("moment", ["import", "warmup", "start"])
@pytest.mark.parametrize("method", ["exec", "template"])
def test_whoever_is_killed_while_it_starts_costs_no_call(
    tmp_path: Path, moment: str, method: Any
) -> None:
    with Pool(write_app(tmp_path, moment), workers=1, start_method=method, sandbox="none") as pool:
        for _ in range(2):
            (tmp_path / "seen").unlink(missing_ok=True)
            strike(newborns(pool))
            future = pool.submit("add", 1, 2)
            limit = time.monotonic() + DEADLINE
            while not (tmp_path / "seen").exists():
                assert time.monotonic() < limit
                time.sleep(0.002)
            strike(newborns(pool))
            assert future.result(DEADLINE) == 3


def test_a_slow_template_holds_up_nobody_who_has_a_worker(tmp_path: Path) -> None:
    with Pool(
        write_app(tmp_path, "warmup"), workers=1, start_method="template", sandbox="none"
    ) as pool:
        known = {worker.pid for worker in pool.workers()}
        strike(newborns(pool) - known)
        began = time.monotonic()
        assert pool.call("add", 1, 2) == 3
        assert time.monotonic() - began < 0.4  # what the template sleeps


def test_a_worker_killed_while_it_is_replaced_costs_no_call(pool: Pool) -> None:
    with Pool(HOSTILE, workers=2, recycle=Recycle(max_tasks=3), sandbox="none") as recycled:
        futures = []
        for n in range(120):
            futures.append(recycled.submit("add", n, 1))
            if n % 20 == 19:
                strike(newborns(recycled) - {worker.pid for worker in recycled.workers()})
        assert [future.result(DEADLINE) for future in futures] == list(range(1, 121))


def test_a_keeper_killed_while_a_worker_starts_costs_no_call(tmp_path: Path) -> None:
    with Pool(
        write_app(tmp_path, "import"), workers=1, start_method="exec", sandbox="none"
    ) as pool:
        (tmp_path / "seen").unlink()
        kill_worker(pool)
        future = pool.submit("add", 1, 2)
        limit = time.monotonic() + DEADLINE
        while not (tmp_path / "seen").exists():
            assert time.monotonic() < limit
            time.sleep(0.002)
        os.kill(pool._core.keeper_pid(), signal.SIGKILL)
        assert future.result(DEADLINE) == 3


def test_a_pool_closed_while_a_worker_starts_leaves_nothing(tmp_path: Path) -> None:
    pool = Pool(write_app(tmp_path, "start"), workers=2, sandbox="none")
    kill_worker(pool)
    pool.submit("add", 1, 2)
    keeper = pool._core.keeper_pid()
    pool.close(0)
    assert not descendants(keeper)


# ---- the host's own limits ----


def test_a_host_out_of_descriptors_says_so_and_recovers() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Pool(HOSTILE, workers=1, start_method="exec", limits=Limits(), sandbox="none") as pool:
        kill_worker(pool)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no new one, however few are open
        try:
            with pytest.raises(WorkerStartError, match=re.escape(os.strerror(24))):
                while True:
                    pool.call("add", 1, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        limit = time.monotonic() + DEADLINE
        while True:
            try:
                assert pool.call("add", 1, 2) == 3
                break
            except errors.WorkerStartError:
                assert time.monotonic() < limit
