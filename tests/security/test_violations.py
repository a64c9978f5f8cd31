"""Violations in three grades: refused, heard of before they happen, ended by the kernel. Each is an
event with who, in which call, which system call; the pool goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Event, Pool, Sandbox, SandboxViolation, TaskTimeout, WorkerStartError, _core

HERE = Path(__file__).parent
APP = HERE / "apps" / "violating.py"
DEADLINE = 60.0
heard = pytest.mark.skipif(
    _core.try_tripwire() != 0, reason="somebody listens to this process already"
)


@pytest.fixture(scope="module", params=["exec", "template"])
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


def opened(profile: str | Sandbox, method: Any, **options: Any) -> Pool:
    return Pool(APP, workers=1, sandbox=profile, start_method=method, **options)


def violations(pool: Pool, count: int) -> list[Event]:
    limit = time.monotonic() + DEADLINE
    while True:
        found = [event for event in pool.events() if event.kind == "violation"]
        if len(found) >= count:
            return found
        assert time.monotonic() < limit, pool.events()
        time.sleep(0.005)


def ends(pool: Pool, way: str, function: str, *args: object) -> SandboxViolation:
    calls = pool.options(timeout=DEADLINE)
    with pytest.raises(SandboxViolation) as caught:
        if way == "call":
            calls.call(function, *args)
        else:
            calls.submit(function, *args).result(DEADLINE)
    assert pool.call("add", 1, 2) == 3
    return caught.value


@pytest.fixture(scope="module")
def baseline(method: Any) -> Iterator[Pool]:
    with opened("baseline", method) as pool:
        yield pool


@heard
@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("profile", ["baseline", "strict", "compute"])
def test_a_call_that_is_never_allowed_is_heard_of_with_all_that_is_known(
    profile: str, way: str, method: Any
) -> None:
    with opened(profile, method) as pool:
        before = len([event for event in pool.events() if event.kind == "violation"])
        error = ends(pool, way, "never", "bpf", 7, 2**40, -1)
        event = violations(pool, before + 1)[-1]
    assert (error.syscall, error.signal) == ("bpf", 9)
    assert error.syscall_args is not None
    assert error.syscall_args[:2] == (7, 2**40)
    assert error.python_stack is not None
    assert "never" in error.python_stack
    assert (event.grade, event.syscall, event.function) == ("tripwire", "bpf", "never")
    assert (event.call_id, event.pid) == (error.call_id, error.pid)
    assert event.worker_id == error.worker_id
    assert event.args[:3] == (7, "address", -1)


@heard
@pytest.mark.parametrize("profile", ["baseline", "strict"])
@pytest.mark.parametrize("name", ["ptrace", "mount", "setns", "kexec_load", "process_vm_readv"])
def test_each_call_is_named(name: str, profile: str) -> None:
    with opened(profile, "template") as pool:
        assert ends(pool, "call", "never", name).syscall == name


@heard
@pytest.mark.parametrize("function", ["in_thread", "in_program", "in_fork_of_fork"])
def test_threads_programs_and_orphans_of_a_worker_are_its_own(
    baseline: Pool, function: str
) -> None:
    before = len([event for event in baseline.events() if event.kind == "violation"])
    error = ends(baseline, "call", function, "mount")
    event = violations(baseline, before + 1)[-1]
    assert (event.worker_id, event.syscall) == (error.worker_id, "mount")
    assert "by thread or process" in event.detail


@heard
def test_a_daemon_that_has_left_its_worker_is_ended_alone(baseline: Pool, method: Any) -> None:
    before = len([event for event in baseline.events() if event.kind == "violation"])
    note = Path(baseline.call("scratch")) / "daemon"
    calls = baseline.options(timeout=DEADLINE)
    if method == "exec":  # then there is no doubt whose it was
        # The kill may come between the two calls; the second is then another worker's.
        with pytest.raises((SandboxViolation, TaskTimeout)):
            calls.call("in_daemon", "mount", str(note))
            baseline.options(timeout=5).call("read", "/dev/zero")
    else:
        calls.call("in_daemon", "mount", str(note))
    event = violations(baseline, before + 1)[-1]
    assert (event.grade, event.syscall) == ("tripwire", "mount")
    if method == "template":
        assert event.worker_id == 0
        assert "has left its worker" in event.detail
        assert note.read_text() != "went on"
    assert baseline.call("add", 1, 2) == 3


@heard
def test_many_threads_at_once_are_one_violation(baseline: Pool) -> None:
    before = len([event for event in baseline.events() if event.kind == "violation"])
    ends(baseline, "call", "in_many_threads", 50)
    violations(baseline, before + 1)
    assert len([event for event in baseline.events() if event.kind == "violation"]) == before + 1


@heard
def test_a_call_that_is_taken_back_again_and_again_does_not_happen(baseline: Pool) -> None:
    error = ends(baseline, "call", "withdraws")
    assert error.syscall in ("ptrace", None)


@heard
def test_an_import_that_makes_such_a_call_is_a_start_that_failed(
    method: Any, tmp_path: Path
) -> None:
    app = tmp_path / "bad.py"
    app.write_text(APP.read_text() + "\nnever('mount')\n")
    events: list[Event] = []
    with (
        pytest.raises(WorkerStartError, match="SIGKILL|signal|sandbox"),
        Pool(app, workers=1, sandbox="baseline", start_method=method, on_event=events.append),
    ):
        pass
    found = [event for event in events if event.kind == "violation"]
    assert found
    assert found[0].syscall == "mount"


def test_a_refused_file_is_an_event_of_the_call(baseline: Pool, tmp_path: Path) -> None:
    before = len([event for event in baseline.events() if event.kind == "violation"])
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises((PermissionError, FileNotFoundError)) as caught:
        baseline.call("read", str(secret))
    if isinstance(caught.value, FileNotFoundError):
        pytest.skip("the directory is hidden from workers here")
    event = violations(baseline, before + 1)[-1]
    assert (event.grade, event.function, event.syscall) == ("refused", "read", None)
    assert event.call_id > 0
    assert event.worker_id > 0
    assert str(secret) in event.detail
    assert baseline.call("tries", str(secret)) == "refused"


def test_a_flood_of_refusals_is_told_at_a_bounded_rate(method: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with opened("baseline", method) as pool:
        results = list(pool.map("read", [str(secret)] * 400, return_exceptions=True))
        assert all(isinstance(result, OSError) for result in results)
        if any(isinstance(result, FileNotFoundError) for result in results):
            pytest.skip("the directory is hidden from workers here")
        found = violations(pool, 1)
        began = time.monotonic()
        while time.monotonic() < began + 1 and len(found) < 33:
            time.sleep(0.01)
            found = violations(pool, 1)
        # A worker sends 32 and one a second more.
        assert len(found) < 100
        assert pool.stats()["protocol_errors"] == 0


def test_violations_are_in_the_audit_log_without_addresses(tmp_path: Path) -> None:
    with opened("strict", "template", audit=tmp_path / "audit.log") as pool:
        ends(pool, "call", "never", "mount", 5, 2**45)
        violations(pool, 1)
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    found = [line for line in lines if line["event"] == "violation"]
    assert len(found) == 1
    assert found[0]["syscall"] == "mount"
    assert found[0]["function"] == "never"
    assert found[0]["grade"] in ("tripwire", "signal")
    assert found[0]["arguments"].startswith("5, address")
    assert str(2**45) not in json.dumps(found[0])


def test_lists_of_ones_own_calls_leave_what_is_never_allowed_to_the_tripwire(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
                    {"names": ["bpf"], "action": "SCMP_ACT_ALLOW"},
                ],
            }
        )
    )
    for syscalls, name in (
        (["openat", "mount", "bpf"], "mount"), ([], "bpf"), (profile, "mount"), (profile, "bpf"),
    ):  # fmt: skip
        with opened(Sandbox("strict", syscalls=syscalls), "exec") as pool:
            assert ends(pool, "call", "never", name).syscall == name


def unheard() -> list[str]:
    """What a host says that has a listener itself: there can be one only."""
    done = subprocess.run(
        [sys.executable, "-c", UNHEARD, str(APP)],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


UNHEARD = """
import ctypes, sys
from pyproc import Pool, SandboxViolation, _core
from pyproc import _syscalls as calls

class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

libc = ctypes.CDLL(None, use_errno=True)
code = _core.compile_filter(calls.ALLOW, calls.KILL_PROCESS, 0, [], [("vhangup", calls.EPERM, ())])
libc.prctl(38, 1, 0, 0, 0)
number = 317 if __import__("os").uname().machine == "x86_64" else 277
fd = libc.syscall(number, 1, 8, ctypes.byref(Program(len(code) // 8, code)))
assert fd >= 0, ctypes.get_errno()
for method in ("exec", "template"):
    with Pool(sys.argv[1], workers=1, sandbox="strict", start_method=method) as pool:
        try:
            pool.call("never", "mount", 5)
        except SandboxViolation as error:
            print(error.syscall, error.signal)
        assert pool.call("add", 1, 2) == 3
        print([event.grade for event in pool.events() if event.kind == "violation"])
        print([line.state for line in pool.isolation_report() if line.layer == "tripwire"])
"""


@pytest.mark.no_sanitizer("its host programs start without the sanitizer's runtime")
@heard
def test_where_nobody_may_listen_the_kernel_ends_the_worker_and_the_report_says_so() -> None:
    lines = unheard()
    assert lines[0::3] == ["mount 31"] * 2
    assert lines[1::3] == ["['signal']"] * 2
    assert all("none (Device or resource busy)" in line for line in lines[2::3])
