"""on_start and on_stop: state that a worker makes for itself and gives back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyproc import App, Pool, Recycle

APP = Path(__file__).with_name("apps") / "state_app.py"
DEADLINE = 60.0


def wait_for(holds: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def lines(path: Path, pid: int) -> list[str]:
    """What the worker has written, in order."""
    found = [line.split() for line in path.read_text().splitlines()]
    return [text for text, number in found if int(number) == pid]


@pytest.mark.parametrize("method", ["template", "exec"])
def test_a_worker_makes_its_state_and_gives_it_back_when_the_pool_closes(
    tmp_path: Path, method: str
) -> None:
    path = tmp_path / "log"
    env = {"STATE_LOG": str(path)}
    options: dict[str, Any] = {"start_method": method, "env": env, "sandbox": "none"}
    with Pool(APP, workers=1, **options) as pool:
        pid = pool.call("connected")
        assert pid == pool.workers()[0].pid
        assert lines(path, pid) == ["start"]
    assert lines(path, pid) == ["start", "flush", "stop"]


def test_a_recycled_worker_gives_its_state_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Pool(
        APP, workers=1, recycle=Recycle(max_tasks=2), env={"STATE_LOG": str(path)}, sandbox="none"
    ) as pool:
        first = pool.call("connected")
        pool.call("connected")
        wait_for(lambda: pool.call("connected") != first)
        wait_for(lambda: lines(path, first) == ["start", "flush", "stop"])


def test_a_worker_that_was_idle_too_long_gives_its_state_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Pool(
        APP,
        min_workers=1,
        max_workers=2,
        idle_timeout=0.05,
        env={"STATE_LOG": str(path)},
        sandbox="none",
    ) as pool:
        futures = [pool.submit("connected") for _ in range(50)]
        pids = {future.result(DEADLINE) for future in futures}
        wait_for(lambda: len(pool.workers()) == 1)
        gone = pids - {worker.pid for worker in pool.workers()}
        wait_for(lambda: all(lines(path, pid) == ["start", "flush", "stop"] for pid in gone))


def test_a_hook_that_fails_is_told_and_the_others_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    with Pool(
        APP, workers=1, env={"STATE_LOG": str(path), "STOP_FAILS": "1"}, sandbox="none"
    ) as pool:
        pid = pool.call("connected")
    assert lines(path, pid) == ["start", "flush", "stop"]


def test_a_hook_that_hangs_delays_the_close_by_a_second(tmp_path: Path) -> None:
    path = tmp_path / "log"
    pool = Pool(APP, workers=1, env={"STATE_LOG": str(path), "STOP_HANGS": "1"}, sandbox="none")
    pid = pool.call("connected")
    pool.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert lines(path, pid) == ["start"]


def test_a_hook_is_a_function() -> None:
    with pytest.raises(TypeError, match="on_stop needs a function"):
        App().on_stop(3)  # type: ignore[type-var]
