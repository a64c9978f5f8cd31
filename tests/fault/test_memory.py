"""Limits of memory and processor time, enforced while the call runs."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacks import killed_with_stack

from pyproc import CPUTimeExceeded, Limits, MemoryLimitExceeded, Pool, WorkerKilled

APP = Path(__file__).parent / "apps" / "hungry.py"
TAKING = APP.with_name("taking.py")
DEADLINE = 60.0
MIB = 1 << 20
CAP = 256
WAYS = [
    "pieces",
    "one_piece",
    "shared_mapping",
    "huge_pages",
    "memory_file",
    "two_threads",
    "child",
    "orphan",
]


@pytest.fixture(name="pool", scope="module")
def limited() -> Iterator[Pool]:
    with Pool(
        APP, workers=1, limits=Limits(memory=f"{CAP}MiB", cpu_time=20), sandbox="none"
    ) as opened:
        yield opened


@pytest.fixture(autouse=True)
def settled(pool: Pool) -> Iterator[None]:
    yield
    assert isinstance(pool.call("pid"), int)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_takes_too_much_is_killed_near_its_limit(pool: Pool, way: str) -> None:
    with pytest.raises(MemoryLimitExceeded) as caught:
        pool.call("grow", way, 900)
    error = caught.value
    assert error.limit == CAP * MIB
    assert error.how in ("watchdog", "cgroup")  # who saw it first, where there is a cgroup
    assert error.peak is not None
    assert CAP * MIB < error.peak < (CAP + 64) * MIB
    assert error.signal == 9
    assert error.cause == "memory"


def test_the_error_says_where_the_memory_went(pool: Pool) -> None:
    error = killed_with_stack(MemoryLimitExceeded, lambda: pool.call("grow", "pieces", 900))
    assert "256 MiB" in str(error)
    assert error.function == "grow"
    assert "in pieces" in (error.python_stack or "")


def test_a_piece_that_the_kernel_refuses_is_the_limits_doing_too(pool: Pool) -> None:
    before = pool.call("pid")
    with pytest.raises(MemoryLimitExceeded) as caught:
        pool.call("grow", "one_piece", 20_000)
    assert caught.value.how == "rlimit"
    assert isinstance(caught.value.__cause__, MemoryError)
    assert pool.call("pid") == before


@pytest.mark.parametrize("function", ["map_at_once", "numpy_at_once"])
def test_other_words_for_the_same_refusal_are_understood(pool: Pool, function: str) -> None:
    with pytest.raises(MemoryLimitExceeded) as caught:
        pool.call(function, 20_000)
    assert caught.value.how == "rlimit"
    assert caught.value.limit == CAP * MIB


def test_a_calls_own_limit_is_not_above_the_pools(pool: Pool) -> None:
    with pytest.raises(ValueError, match="above the pool's Limits"):
        pool.options(memory=f"{CAP + 1}MiB")


@pytest.fixture(name="small_group")
def memory_cgroup() -> Iterator[Path]:
    """A memory cgroup of 96 MiB that kills what goes beyond, of either version."""
    for parent, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(parent, f"pyproc-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(96 * MIB))
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("no memory cgroup can be made here, so the kernel cannot be made to kill")


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_apart(small_group: Path) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pid = pool.call("pid")
        (small_group / "cgroup.procs").write_text(str(pid))
        with pytest.raises(WorkerKilled) as caught:
            pool.call("grow", "pieces", 300)
        assert caught.value.cause == "oom"
        assert caught.value.certain is False
        victim = pool.call("pid")
        with pytest.raises(WorkerKilled) as by_hand:
            threading.Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
            pool.call("nap", DEADLINE)
        assert by_hand.value.cause == "signal"
        assert by_hand.value.certain is None


def test_it_is_a_memory_error(pool: Pool) -> None:
    with pytest.raises(MemoryError):
        pool.call("grow", "pieces", 900)


@pytest.mark.parametrize("way", ["pieces", "shared_mapping", "memory_file"])
def test_what_fits_is_not_disturbed(pool: Pool, way: str) -> None:
    before = pool.call("pid")
    for _ in range(3):
        assert pool.call("grow", way, 150) == 150
    assert pool.call("pid") == before


def test_numpy_works_below_a_limit(pool: Pool) -> None:
    assert pool.call("use_numpy") == 1_000_000.0


def test_pandas_works_below_a_limit(pool: Pool) -> None:
    if importlib.util.find_spec("pandas") is None:  # the host itself does not import it
        pytest.skip("pandas is not installed here")
    assert pool.call("use_pandas") == 499_500


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_may_have_a_limit_of_its_own(way: str) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        small = pool.options(memory="64MiB")
        with pytest.raises(MemoryLimitExceeded) as caught:
            if way == "call":
                small.call("grow", "pieces", 600)
            else:
                small.submit("grow", "pieces", 600).result(DEADLINE)
        assert caught.value.limit == 64 * MIB
        assert pool.call("grow", "pieces", 300) == 300


def test_only_the_item_that_took_too_much_fails_in_a_map(pool: Pool) -> None:
    sizes = [10, 20, 900, 30, 40]
    with Pool(TAKING, workers=1, limits=Limits(memory="256MiB"), sandbox="none") as small:
        results = list(small.map("take", sizes, return_exceptions=True, chunksize=5))
    assert isinstance(results[2], MemoryLimitExceeded)
    assert results[:2] + results[3:] == [10, 20, 30, 40]


@pytest.mark.parametrize("function", ["spin", "spin_in_a_child"])
def test_processor_time_is_limited_for_the_whole_tree(pool: Pool, function: str) -> None:
    with pytest.raises(CPUTimeExceeded) as caught:
        pool.options(cpu_time=0.5).call(function, 60)
    assert caught.value.limit == 0.5
    assert caught.value.used is not None
    assert 0.5 <= caught.value.used < 5


def test_waiting_costs_no_processor_time(pool: Pool) -> None:
    assert pool.options(cpu_time=0.2).call("nap", 0.6) == 0.6


def test_processor_time_is_counted_for_each_call_anew(pool: Pool) -> None:
    limited = pool.options(cpu_time=1)
    for _ in range(4):
        assert limited.call("spin", 0.4) == 0.4


def test_an_idle_pool_with_limits_looks_at_nothing(pool: Pool) -> None:
    pool.call("pid")
    time.sleep(0.2)
    (loop,) = [
        task
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text() == "pyproc-loop\n"
    ]
    before = switches(loop)
    time.sleep(1.0)
    assert switches(loop) - before <= 1


def switches(task: Path) -> int:
    lines = (task / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "voluntary_ctxt_switches" in line)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"memory": "1KiB"}, ValueError, "at least 1MiB"),
        ({"memory": "much"}, ValueError, "Limits.memory"),
        ({"memory": 1.5}, TypeError, "Limits.memory"),
        ({"cpu_time": 0}, ValueError, "Limits.cpu_time"),
        ({"cpu_time": "1"}, TypeError, "Limits.cpu_time"),
    ],
)
def test_bad_limits_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Limits(**options)
