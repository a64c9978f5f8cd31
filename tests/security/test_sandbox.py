"""What a sandbox keeps code in a worker from, each deed shown to work without one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import Limits, Pool, Sandbox, TaskTimeout, Timeouts, WorkerCrashed

pytestmark = pytest.mark.no_sanitizer("its runtime opens and maps what a sandbox refuses")
APP = Path(__file__).parent / "apps" / "boxed.py"
PROFILES = ["baseline", "strict", "compute"]
IS_ROOT = os.geteuid() == 0


@pytest.fixture(name="start", scope="module", params=["exec", "template"])
def start_method(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(name="free", scope="module")
def without(start: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none", start_method=start) as pool:
        yield pool


@pytest.fixture(scope="module", params=PROFILES)
def one_boxed(request: pytest.FixtureRequest, start: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox=request.param, start_method=start) as pool:
        yield pool


@pytest.fixture(scope="module", params=["strict", "compute"])
def one_strict(request: pytest.FixtureRequest, start: Any) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox=request.param, start_method=start) as pool:
        yield pool


def settle(pool: Pool) -> None:
    """Waits until it has its worker again, which a deed may have ended: what is open is counted."""
    assert pool.call("add", 1, 2) == 3  # one that looks idle may be about to end
    limit = time.monotonic() + 60
    while (stats := pool.stats())["workers_idle"] != 1 or stats["workers"] != 1:
        assert time.monotonic() < limit, stats
        time.sleep(0.005)


@pytest.fixture(name="boxed")
def inside(one_boxed: Pool) -> Iterator[Pool]:
    yield one_boxed
    settle(one_boxed)


@pytest.fixture(name="strict")
def well_inside(one_strict: Pool) -> Iterator[Pool]:
    yield one_strict
    settle(one_strict)


@pytest.fixture(name="outsider")
def somebody() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def refused(pool: Pool, function: str, *args: object) -> bool:
    """Whether the deed was not done; a worker that dies of it has not done it either."""
    try:
        return bool(pool.call(function, *args) != "done")
    except Exception:
        return True


def test_a_call_in_a_sandbox_works(boxed: Pool) -> None:
    assert boxed.call("add", 1, 2) == 3


def test_a_secret_outside_the_grants_cannot_be_read(
    free: Pool, boxed: Pool, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    assert free.call("read", str(secret)) == "done"
    assert refused(boxed, "read", str(secret))


def test_a_file_outside_cannot_be_written(free: Pool, boxed: Pool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    path.chmod(0o666)
    assert refused(boxed, "write", str(path))
    assert path.read_text() == "mine"
    assert free.call("write", str(path)) == "done"


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX", "AF_NETLINK"])
def test_no_socket_can_be_made(free: Pool, boxed: Pool, family: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert free.call("connect", family, port) == "done"
        assert refused(boxed, "connect", family, port)


def test_nobody_outside_gets_a_signal(free: Pool, boxed: Pool, outsider: int) -> None:
    assert refused(boxed, "strike", outsider)
    assert refused(boxed, "strike", os.getpid())
    assert free.call("strike", outsider) == "done"


def test_nobody_outside_can_be_looked_into(free: Pool, boxed: Pool, outsider: int) -> None:
    assert free.call("peek", outsider) == "done"
    assert refused(boxed, "peek", outsider)
    assert refused(boxed, "peek", os.getpid())
    assert refused(boxed, "trace", outsider)


@pytest.mark.parametrize(
    "name",
    ["io_uring_setup", "bpf", "userfaultfd", "keyctl", "unshare", "mount", "perf_event_open"],
)
def test_the_kernels_rarer_doors_are_closed(boxed: Pool, name: str) -> None:
    assert refused(boxed, "kernel", name)


def test_limits_cannot_be_raised(boxed: Pool) -> None:
    assert refused(boxed, "raise_limit")


@pytest.mark.skipif(not IS_ROOT, reason="needs a host that is root")
def test_workers_of_a_root_host_are_somebody_else(free: Pool, boxed: Pool) -> None:
    assert free.call("ids")[0] == 0
    found = boxed.call("ids")
    assert 0 not in found
    assert 61184 <= found[0] <= 65519
    assert refused(boxed, "root_again")


@pytest.mark.parametrize("start_method", ["exec", "template"])
def test_baseline_runs_programs_and_has_no_capabilities(start_method: Any) -> None:
    with Pool(APP, workers=1, sandbox="baseline", start_method=start_method) as pool:
        assert pool.call("execute") == "done"
        assert pool.call("fork") == "done"
        assert pool.call("write_scratch") == "done"
        status = Path(f"/proc/{pool.workers()[0].pid}/status").read_text()
        assert int(status.partition("CapEff:")[2].split()[0], 16) == 0


def test_strict_starts_no_program_and_no_process(free: Pool, strict: Pool) -> None:
    assert free.call("execute") == free.call("fork") == "done"
    assert refused(strict, "execute")
    assert refused(strict, "fork")


def test_threads_still_start(boxed: Pool) -> None:
    assert boxed.call("thread") == "done"


@pytest.mark.parametrize("profile", ["baseline", "strict"])
def test_pure_modules_can_be_imported_after_the_start(start: Any, profile: str) -> None:
    with Pool(APP, workers=1, sandbox=profile, start_method=start) as pool:
        assert pool.call("late_import") == "done"


def test_a_crash_in_a_sandbox_has_its_stack(boxed: Pool) -> None:
    with pytest.raises(WorkerCrashed) as caught:
        boxed.call("segfault")
    assert caught.value.signal == signal.SIGSEGV
    assert "segfault" in (caught.value.python_stack or "")
    assert boxed.call("add", 1, 2) == 3


def test_a_hang_in_a_sandbox_ends_by_its_deadline_with_its_stack(boxed: Pool) -> None:
    calls = boxed.options(timeout=0.3)
    error = killed_with_stack(TaskTimeout, lambda: calls.call("spin"))
    assert "spin" in (error.python_stack or "")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_soft_stop_reaches_code_in_a_sandbox(start: Any, profile: str) -> None:
    with Pool(
        APP, workers=1, sandbox=profile, start_method=start, timeouts=Timeouts(grace=10)
    ) as pool:
        pid = pool.workers()[0].pid
        with pytest.raises(TaskTimeout):
            pool.options(timeout=0.3).call("spin")
        assert pool.workers()[0].pid == pid


def test_a_granted_file_can_be_read_and_only_that(tmp_path: Path, start: Any) -> None:
    tmp_path.chmod(0o755)
    for name in ("granted", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    box = Sandbox("strict", read=[tmp_path / "granted"])
    with Pool(APP, workers=1, sandbox=box, start_method=start) as pool:
        assert pool.call("read", str(tmp_path / "granted" / "file")) == "done"
        assert refused(pool, "read", str(tmp_path / "other" / "file"))
        assert refused(pool, "write", str(tmp_path / "granted" / "file"))


def test_no_processes_and_strict_go_together(start: Any) -> None:
    with Pool(
        APP, workers=1, sandbox="strict", limits=Limits(processes=0), start_method=start
    ) as pool:
        assert pool.call("add", 1, 2) == 3
        assert refused(pool, "fork")


def test_the_scratch_directory_goes_with_the_pool(start: Any) -> None:
    with Pool(APP, workers=1, sandbox="baseline", start_method=start) as pool:
        assert pool.call("write_scratch") == "done"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"profile": "strong"}, ValueError, "profile"),
        ({"read": ["relative"]}, ValueError, "read"),
        ({"read": ["/does/not/exist"]}, FileNotFoundError, "read"),
        ({"profile": "compute", "network": True}, ValueError, "network"),
        ({"on_unsupported": "ignore"}, ValueError, "on_unsupported"),
        ({"capabilities": ["fly"]}, ValueError, "capabilities"),
        ({"namespaces": ["time travel"]}, ValueError, "namespaces"),
        ({"syscalls": ["no_such_call"]}, ValueError, "syscalls"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Sandbox(**options)
