"""Each limit at its edge: what just fits works, one more is the documented error."""

from __future__ import annotations

import errno
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pyproc import Limits, Pool, ProcessLimitExceeded, ThreadLimitExceeded, WorkerCrashed

APP = Path(__file__).parent / "apps" / "greedy.py"
DEADLINE = 60.0
CPUS = sorted(os.sched_getaffinity(0))
both_starts = pytest.mark.parametrize("start", ["exec", "template"])


def opened(limits: Limits, start: Any = "auto", **more: Any) -> Pool:
    return Pool(APP, workers=1, start_method=start, limits=limits, **more)


# ---- processes ----


@both_starts
def test_as_many_processes_as_allowed_are_let_run(start: str) -> None:
    with opened(Limits(processes=3), start) as pool:
        before = pool.call("pid")
        assert pool.call("start_processes", 3, 0.2) == 3
        assert pool.call("pid") == before


@both_starts
def test_one_process_more_ends_the_worker_and_all_of_them(start: str) -> None:
    with opened(Limits(processes=3), start) as pool:
        began = time.monotonic()
        with pytest.raises(ProcessLimitExceeded) as caught:
            pool.call("start_processes", 4, DEADLINE)
        assert time.monotonic() - began < DEADLINE / 2
        assert (caught.value.limit, caught.value.used) == (3, 4)
        assert caught.value.cause == "processes"
        assert pool.call("start_processes", 1, 0) == 1


def test_orphans_count_too() -> None:
    with opened(Limits(processes=2)) as pool, pytest.raises(ProcessLimitExceeded):
        pool.call("start_orphans", 3, DEADLINE)


WAYS = ["subprocess", "posix_spawn", "system", "fork", "multiprocessing"]
CALLS = ["clone", "fork call", "vfork call"] if platform.machine() == "x86_64" else []


@both_starts
def test_without_processes_the_kernel_refuses_each_way_to_start_one(start: str) -> None:
    with opened(Limits(processes=3), start) as pool:  # multiprocessing has a tracker beside
        for way in WAYS:
            assert pool.call("start_one", way) in ("started", "true", "0")
    with opened(Limits(processes=0), start) as pool:
        before = pool.call("pid")
        for way in [*WAYS, *CALLS]:
            if way == "system":
                assert pool.call("start_one", way) != "0"
                continue
            with pytest.raises(PermissionError):
                pool.call("start_one", way)
        assert pool.call("pid") == before


@both_starts
def test_without_processes_threads_still_start(start: str) -> None:
    with opened(Limits(processes=0, threads=4), start) as pool:
        assert pool.call("start_threads", 4, 0.05) == 4


def test_without_processes_an_application_may_start_some_while_it_is_imported(
    tmp_path: Path,
) -> None:
    (tmp_path / "starting.py").write_text(
        "import subprocess, pyproc\n"
        "app = pyproc.App()\n"
        "kept = subprocess.run(['echo', 'hello'], capture_output=True, text=True).stdout\n"
        "@app.expose\n"
        "def said() -> str:\n"
        "    return kept\n"
    )
    for start in ("exec", "template"):
        target, limits = tmp_path / "starting.py", Limits(processes=0)
        with Pool(target, workers=1, start_method=start, limits=limits) as pool:
            assert pool.call("said") == "hello\n"


def test_a_fork_bomb_ends_and_the_pool_goes_on() -> None:
    with opened(Limits(processes=4)) as pool:
        with pytest.raises(ProcessLimitExceeded):
            pool.submit("fork_without_end").result(DEADLINE)
        assert isinstance(pool.call("pid"), int)


# ---- threads ----


@both_starts
def test_as_many_threads_as_allowed_are_let_run(start: str) -> None:
    with opened(Limits(threads=5), start) as pool:
        before = pool.call("pid")
        assert pool.call("start_threads", 5, 0.2) == 5
        assert pool.call("pid") == before


@both_starts
def test_one_thread_more_ends_the_worker(start: str) -> None:
    with opened(Limits(threads=5), start) as pool:
        with pytest.raises(ThreadLimitExceeded) as caught:
            pool.submit("start_threads", 6, DEADLINE).result(DEADLINE)
        assert (caught.value.limit, caught.value.used) == (5, 6)
        assert caught.value.cause == "threads"
        assert pool.call("start_threads", 1, 0) == 1


def test_threads_that_outlive_their_call_count_in_the_next() -> None:
    with opened(Limits(threads=5)) as pool:
        pool.call("keep_threads", 3)
        with pytest.raises(ThreadLimitExceeded):
            pool.call("start_threads", 3, DEADLINE)


# ---- what the kernel refuses inside the function ----


@both_starts
def test_a_file_may_have_its_limit_and_not_a_byte_more(start: str, tmp_path: Path) -> None:
    with opened(Limits(file_size="1MiB"), start, sandbox="none") as pool:
        before = pool.call("pid")
        assert pool.call("write_file", str(tmp_path / "fits"), 2**20) == 2**20
        with pytest.raises(OSError, match="File too large") as caught:
            pool.call("write_file", str(tmp_path / "big"), 2**20 + 1)
        assert caught.value.errno == errno.EFBIG
        assert pool.call("pid") == before
    assert (tmp_path / "big").stat().st_size == 2**20


@both_starts
@pytest.mark.parametrize("count", [16, 64, 1024])
def test_descriptors_end_at_their_limit(start: str, count: int) -> None:
    with opened(Limits(open_files=count), start) as pool:
        assert pool.call("open_files") == count
        assert pool.call("soft_and_hard", "RLIMIT_NOFILE") == (count, count)


@pytest.mark.no_sanitizer("frames are larger, and so is the stack")
@both_starts
def test_a_stack_beyond_its_limit_costs_its_call_only(start: str) -> None:
    with opened(Limits(stack="512KiB"), start) as pool:
        assert pool.call("use_stack", 100) == 1
        with pytest.raises(WorkerCrashed) as caught:
            pool.call("use_stack", 100_000)
        assert caught.value.signal == 11
        assert pool.call("use_stack", 100) == 1


@pytest.mark.no_sanitizer("the sanitizer's runtime takes the soft limit of core files away")
@both_starts
def test_the_kernel_holds_forked_and_fresh_workers_to_the_same(start: str) -> None:
    limits = Limits(core="1MiB", file_size="2MiB", open_files=300, stack="4MiB")
    with opened(limits, start) as pool:
        found = [pool.call("soft_and_hard", f"RLIMIT_{name}") for name in ("CORE", "FSIZE")]
        found += [pool.call("soft_and_hard", f"RLIMIT_{name}") for name in ("NOFILE", "STACK")]
    assert found == [(value, value) for value in (2**20, 2**21, 300, 2**22)]


# ---- processors ----


@both_starts
def test_a_worker_runs_on_as_many_processors_as_it_was_given(start: str) -> None:
    with opened(Limits(cpus=1), start) as pool:
        assert len(pool.call("processors")) == 1
        assert pool.call("thread_counts") == ["1", "1", "1"]


@both_starts
def test_a_worker_runs_on_the_very_processors_that_are_named(start: str) -> None:
    with opened(Limits(cpus={CPUS[-1]}), start) as pool:
        assert pool.call("processors") == [CPUS[-1]]


def test_a_thread_count_of_env_goes_before_that_of_cpus() -> None:
    with opened(Limits(cpus=1), env={"OMP_NUM_THREADS": "3"}) as pool:
        assert pool.call("thread_counts") == ["1", "3", "1"]


@pytest.mark.skipif(len(CPUS) < 2, reason="one processor cannot be divided")
@both_starts
def test_workers_with_one_processor_each_share_none(start: Any) -> None:
    limits = Limits(cpus=1)
    with Pool(APP, min_workers=2, max_workers=2, start_method=start, limits=limits) as pool:
        barrier = threading.Barrier(2)
        found: list[int] = []

        def ask() -> None:
            barrier.wait(DEADLINE)
            pool.call("start_threads", 1, 0.3)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        for info in pool.workers():
            found += os.sched_getaffinity(info.pid)
        assert len(found) == len(set(found)) == 2


# ---- bad limits ----


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"processes": -1}, ValueError, r"Limits\.processes=-1: 0 or more"),
        ({"processes": True}, TypeError, r"Limits\.processes=True: an int"),
        ({"threads": 1.5}, TypeError, r"Limits\.threads=1\.5: an int"),
        ({"open_files": 15}, ValueError, "open_files=15.*at least 16"),
        ({"open_files": "many"}, TypeError, r"Limits\.open_files='many'"),
        ({"address_space": "32MiB"}, ValueError, "address_space='32MiB'.*64MiB"),
        ({"stack": "64KiB"}, ValueError, "stack='64KiB'.*256KiB"),
        ({"file_size": "63KiB"}, ValueError, "file_size='63KiB'.*64KiB"),
        ({"core": None}, TypeError, r"Limits\.core"),
        ({"nice": 20}, ValueError, "nice=20"),
        ({"cpus": 0}, ValueError, r"cpus=0\): from 1 to"),
        ({"cpus": 10_000}, ValueError, "CPUs are usable here"),
        ({"cpus": {5000}}, ValueError, r"CPUs \[5000\] are not usable here"),
        ({"cpus": set()}, TypeError, "at least one"),
        ({"cpus": "all"}, TypeError, "numbers of CPUs"),
        ({"cpus": 1.5}, TypeError, r"cpus=1\.5"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_name(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Limits(**options)


@pytest.mark.no_sanitizer("a limit on address space")
@both_starts
@pytest.mark.parametrize(
    "least", [{"address_space": "64MiB"}, {"stack": "256KiB"}, {"file_size": "64KiB"}]
)
def test_the_least_that_is_allowed_is_enough_to_start(start: str, least: dict[str, Any]) -> None:
    with opened(Limits(**least), start) as pool:
        assert pool.call("start_threads", 1, 0) == 1


@pytest.mark.parametrize("name", ["open_files", "processes", "threads", "stack", "cpus", "nice"])
def test_a_limit_of_the_pool_is_refused_for_a_call(name: str) -> None:
    with opened(Limits()) as pool:
        options: dict[str, Any] = {name: 20}
        with pytest.raises(TypeError, match=rf"Pool\(limits=Limits\({name}="):
            pool.options(**options)
        with pytest.raises(TypeError, match="no option 'colour'"):
            pool.options(colour="red")  # type: ignore[arg-type]
