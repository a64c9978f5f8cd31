"""What each profile keeps a worker from, and what it leaves it; exec'd and forked workers alike."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Pool, SandboxViolation, TaskTimeout, WorkerDied

APP = Path(__file__).parent / "apps" / "confined.py"
CLOSED = ("strict", "compute")
ALL = ("baseline", *CLOSED)


@pytest.fixture(scope="module", params=["exec", "template"])
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module", params=ALL)
def profile(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def pool(profile: str, method: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox=profile, start_method=method) as opened:
        yield opened


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0o644)
    return path


def test_a_file_that_nobody_granted_cannot_be_read(pool: Pool, secret: Path) -> None:
    with pytest.raises(OSError, match=r"Permission denied|No such file"):
        pool.call("read", str(secret))


def test_nothing_outside_the_scratch_directory_can_be_written(pool: Pool, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(OSError, match=r"Permission denied|No such file|Read-only"):
        pool.call("write", str(tmp_path / "new"), "text")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 17])
def test_no_socket_can_be_made(pool: Pool, kind: int) -> None:
    with pytest.raises(PermissionError):
        pool.call("connects", kind)


def test_no_outsider_can_be_signalled(pool: Pool) -> None:
    for pid in (os.getpid(), pool.call("parent"), 1):
        # In a namespace of its own there is nobody else to be found.
        with pytest.raises((PermissionError, ProcessLookupError)):
            pool.call("signals", pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to give up")
def test_workers_of_a_root_host_have_a_user_of_their_own(pool: Pool) -> None:
    uid, gid, groups = pool.call("identity")
    assert 61184 <= uid <= 65519
    assert (gid, groups) == (uid, [])


def test_the_kernel_says_that_the_worker_is_closed_in(pool: Pool) -> None:
    report = pool.isolation_report()
    kernel = {line.layer: line.state for line in report if line.source == "kernel"}
    assert kernel["NoNewPrivs"] == "1"
    assert kernel["Seccomp"] == "2"
    assert int(kernel["CapEff"], 16) == 0


def test_a_call_that_is_never_allowed_ends_as_a_violation_that_names_it(pool: Pool) -> None:
    with pytest.raises(SandboxViolation) as caught:
        pool.call("traces")
    assert caught.value.syscall == "ptrace"
    assert caught.value.syscall_args is not None
    assert caught.value.syscall_args[0] == 0
    assert caught.value.python_stack is not None
    assert "traces" in caught.value.python_stack
    assert pool.call("threads", 1) == 1
    assert "violation" in [event.kind for event in pool.events()]


def test_the_handler_of_violations_cannot_be_replaced(pool: Pool) -> None:
    with pytest.raises(PermissionError):
        pool.call("takes_sigsys")


def test_threads_can_be_started(pool: Pool) -> None:
    assert pool.call("threads", 5) == 5


def test_a_deadline_still_leaves_a_stack(pool: Pool) -> None:
    error = killed_with_stack(TaskTimeout, lambda: pool.options(timeout=0.2).call("waits"))
    assert error.python_stack is not None


# ---- baseline ----


@pytest.fixture
def baseline(method: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="baseline", start_method=method) as opened:
        yield opened


def test_baseline_starts_programs(baseline: Pool) -> None:
    assert baseline.call("run", ["/bin/echo", "hello"]) == "hello"


def test_baseline_stops_its_own_children(baseline: Pool) -> None:
    assert baseline.call("times_out") == "stopped"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user of the worker's own")
def test_baseline_copies_trees_in_scratch(baseline: Pool) -> None:
    assert baseline.call("copies_a_tree") == ["file"]


def test_the_scratch_directory_goes_with_the_pool() -> None:
    with Pool(APP, workers=1, sandbox="baseline") as pool:
        path = Path(pool.call("scratch"))
        assert path.exists()
    assert not path.exists()
    assert not path.parent.parent.exists()


# ---- strict and compute ----


@pytest.fixture(params=CLOSED)
def closed(request: pytest.FixtureRequest, method: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox=request.param, start_method=method) as opened:
        yield opened


def test_closed_profiles_start_no_process(closed: Pool) -> None:
    with pytest.raises(PermissionError):
        closed.call("forks")
    with pytest.raises((PermissionError, WorkerDied)):
        closed.call("run", ["/bin/echo"])


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/status", "/proc/1/cmdline"])
def test_closed_profiles_read_nothing_of_the_system(closed: Pool, path: str) -> None:
    with pytest.raises((PermissionError, FileNotFoundError)):
        closed.call("read", path)


def test_strict_imports_pure_modules_late(method: Any) -> None:
    with Pool(APP, workers=1, sandbox="strict", start_method=method) as pool:
        assert pool.call("imports", "colorsys") == "colorsys"


def test_strict_says_which_module_to_preload() -> None:
    wanted = pytest.raises(ImportError, match=r"'_zoneinfo'.*preload=\['_zoneinfo'\]")
    with Pool(APP, workers=1, sandbox="strict") as pool, wanted:
        pool.call("imports", "_zoneinfo")
    with Pool(APP, workers=1, sandbox="strict", preload=["_zoneinfo"]) as pool:
        assert pool.call("imports", "_zoneinfo") == "_zoneinfo"
