"""Limits(memory=) by a memory cgroup of each worker, where the host may make one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import (
    Limits,
    MemoryLimitExceeded,
    Pool,
    Sandbox,
    SandboxUnavailable,
    WorkerKilled,
    _core,
)
from pyproc.doctor import look

APP = Path(__file__).parent / "apps" / "hungry.py"
DEADLINE = 60.0
MIB = 1 << 20
CAP = 128
FOUND = _core.find_cgroup(None)
needs_cgroup = pytest.mark.skipif(FOUND[0] != 0, reason="no memory cgroup can be made here")
needs_v1 = pytest.mark.skipif(FOUND[1] != "cgroup v1", reason="only v1 lets the limited stand")
both_starts = pytest.mark.parametrize("start", ["exec", "template"])


def opened(start: str = "auto", cgroup: bool | str | None = True) -> Pool:
    return Pool(
        APP,
        workers=1,
        start_method=start,  # type: ignore[arg-type]
        limits=Limits(memory=f"{CAP}MiB"),
        sandbox=Sandbox("none", cgroup=cgroup),
    )


def groups() -> set[str]:
    return {str(path) for path in Path(FOUND[2]).glob(f"pyproc-{os.getpid()}-*")}


def group_of(pid: int) -> Path:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    (path,) = [line.split(":", 2)[2] for line in lines if "/pyproc-" in line]
    return Path(FOUND[2], *path.split("/")[-2:])


@pytest.fixture(name="opened_once", scope="module", params=["exec", "template"])
def limited(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with opened(request.param) as pool:
        yield pool


@pytest.fixture(name="pool")
def settled(opened_once: Pool) -> Iterator[Pool]:
    yield opened_once
    assert isinstance(opened_once.call("pid"), int)  # a killed worker's place is taken


WAYS = ["pieces", "shared_mapping", "huge_pages", "memory_file", "two_threads", "child", "orphan"]


@needs_cgroup
@pytest.mark.parametrize("way", WAYS)
def test_whoever_takes_too_much_gets_no_further_than_one_percent(pool: Pool, way: str) -> None:
    group = group_of(pool.call("pid"))
    with pytest.raises(MemoryLimitExceeded) as caught:
        pool.call("grow", way, 500)
    error = caught.value
    assert error.limit == CAP * MIB
    # A write to a file in memory may be refused by the kernel just before the kill.
    refused = ("rlimit",) if way == "memory_file" else ()
    assert error.how in ("cgroup", "watchdog", *refused)
    assert error.peak is not None
    # One percent, of small caps 1 MiB, and what may be copied of a template's memory.
    assert error.peak <= CAP * MIB * 1.01 + MIB + 12 * MIB
    assert not group.exists()


@needs_v1
def test_who_stands_at_the_wall_can_still_say_where(pool: Pool) -> None:
    missing = []
    for _ in range(5):  # within a few ms, which a busy machine may not have
        with pytest.raises(MemoryLimitExceeded) as caught:
            pool.call("grow", "page_tables", 500)
        assert caught.value.how == "cgroup"  # no look could have found it
        assert CAP * MIB * 0.9 < (caught.value.peak or 0) < CAP * MIB * 1.01 + MIB
        if "in page_tables" in (caught.value.python_stack or ""):
            return
        missing.append(caught.value.python_stack_missing)
    pytest.fail(f"no stack in five kills: {missing}")


@needs_cgroup
def test_what_fits_is_let_be(pool: Pool) -> None:
    before = pool.call("pid")
    for way in ("pieces", "memory_file", "shared_mapping"):
        for _ in range(3):
            assert pool.call("grow", way, CAP - 8) == CAP - 8
    assert pool.call("pid") == before


@needs_cgroup
def test_the_report_names_the_group_and_the_kernels_limit(pool: Pool) -> None:
    pid = pool.call("pid")
    group = group_of(pid)
    lines = {line.source: line for line in pool.isolation_report() if "cgroup" in line.layer}
    assert lines["keeper"].state == f"{FOUND[1]} in {FOUND[2]}"
    assert f"{group.parent.name}/{group.name}: " in lines["kernel"].state
    limit = int(lines["kernel"].state.split(": ")[1].split()[0])
    assert CAP * MIB < limit < CAP * MIB * 1.01 + 40 * MIB


@needs_cgroup
def test_results_that_the_host_keeps_do_not_count_for_the_worker() -> None:
    with Pool(
        APP.with_name("large_results.py"), workers=1, limits=Limits(memory="64MiB"),
        sandbox=Sandbox("none", cgroup=True),
    ) as pool:  # fmt: skip
        before = pool.call("pid")
        kept = [pool.call("make", 16 * MIB) for _ in range(10)]
        assert {len(part) for part in kept} == {16 * MIB}
        assert pool.call("pid") == before


@needs_v1
def test_what_is_copied_of_a_templates_memory_is_not_what_the_worker_took() -> None:
    with Pool(
        APP.with_name("preloaded.py"), workers=1, start_method="template",
        limits=Limits(memory="16MiB"), sandbox=Sandbox("none", cgroup=True),
    ) as pool:  # fmt: skip
        before = pool.call("pid")
        assert pool.call("write_to_all") == 64 * MIB
        assert pool.call("pid") == before
        with pytest.raises(MemoryLimitExceeded):
            pool.call("take", 200)


@needs_cgroup
@both_starts
def test_nothing_is_left_of_the_groups_when_the_pool_is_closed(start: str) -> None:
    before = groups()
    with opened(start) as pool:
        assert len(groups() - before) == 1
        with pytest.raises(WorkerKilled):
            pool.call("die")
        pool.call("pid")
    assert groups() == before


@needs_cgroup
def test_the_keeper_removes_what_a_killed_host_leaves() -> None:
    program = textwrap.dedent(f"""
        import sys
        from pyproc import Limits, Pool, Sandbox
        pool = Pool({str(APP)!r}, workers=2, limits=Limits(memory="64MiB"),
                    sandbox=Sandbox("none", cgroup=True))
        pool.call("pid")
        print("ready", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        left = list(Path(FOUND[2]).glob(f"pyproc-{host.pid}-*"))
        assert left
        host.kill()
    until = time.monotonic() + DEADLINE
    while any(path.exists() for path in left) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(path.exists() for path in left)


@needs_cgroup
def test_the_next_pool_removes_what_nobody_holds() -> None:
    before = groups()
    stale = Path(FOUND[2], "pyproc-1-dead")
    (stale / "7").mkdir(parents=True)
    with opened() as pool:
        assert not stale.exists()
        assert len(groups() - before) == 1
        with opened() as other:
            other.call("pid")
            assert len(groups() - before) == 2
        pool.call("pid")
    assert groups() == before


def answer(pool: Pool) -> object:
    try:
        return pool.call("pid")
    except WorkerKilled:
        return None


@needs_cgroup
def test_a_killed_keeper_costs_no_group() -> None:
    before = groups()
    with opened() as pool:
        pid = pool.call("pid")
        status = Path(f"/proc/{pid}/status").read_text()
        keeper = int(status.split("\nPPid:\t")[1].split()[0])
        os.kill(keeper, signal.SIGKILL)
        until = time.monotonic() + DEADLINE
        while answer(pool) in (pid, None) and time.monotonic() < until:
            pass
        assert answer(pool) not in (pid, None)
    assert groups() == before


@needs_cgroup
def test_a_kill_by_the_machine_itself_is_told_apart_and_sure(pool: Pool) -> None:
    pid = pool.call("pid")
    with pytest.raises(WorkerKilled) as caught:
        pool.call("die")
    assert caught.value.cause == "signal"
    assert caught.value.pid == pid


def test_without_one_the_watchdog_does_it() -> None:
    with opened(cgroup=False) as pool:
        with pytest.raises(MemoryLimitExceeded) as caught:
            pool.call("grow", "pieces", 500)
        states = [line.state for line in pool.isolation_report() if line.layer == "memory cgroup"]
    assert caught.value.how == "watchdog"
    assert states == ["none: Sandbox(cgroup=False)"]


def test_a_directory_that_is_no_cgroup_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        opened(cgroup=os.path.realpath(tmp_path))
    error = caught.value
    assert error.effect == "a memory cgroup"
    assert error.mechanism == "cgroup"
    assert "find a memory cgroup" in error.answer
    assert "Delegate=memory" in error.remedy


def test_with_report_the_pool_starts_without(tmp_path: Path) -> None:
    wanted = Sandbox("none", cgroup=os.path.realpath(tmp_path), on_unsupported="report")
    with Pool(APP, workers=1, limits=Limits(memory="64MiB"), sandbox=wanted) as pool:
        states = [line.state for line in pool.isolation_report()]
        assert isinstance(pool.call("pid"), int)
    assert "none(degraded: a memory cgroup)" in states


def test_one_that_is_asked_for_without_a_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"cgroup=True\) needs Limits\(memory=\)"):
        Pool(APP, workers=1, sandbox=Sandbox("none", cgroup=True))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("sys/fs/cgroup", ValueError, "relative"),
        ("/nowhere/at/all", FileNotFoundError, "no such file"),
        (1.5, TypeError, "cgroup="),
    ],
)
def test_a_bad_directory_is_refused_by_name(
    value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Sandbox(cgroup=value)  # type: ignore[arg-type]


def test_the_doctor_says_whether_there_can_be_one() -> None:
    (check,) = [check for check in look(quick=True) if check.name == "cgroup"]
    assert check.state == ("ok" if FOUND[0] == 0 else "partly")
    assert FOUND[1] in check.found


@needs_cgroup
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_pools_leave_no_group() -> None:
    before = groups()
    for _ in range(1000):
        with opened("exec") as pool:
            pool.call("pid")
    assert groups() == before
