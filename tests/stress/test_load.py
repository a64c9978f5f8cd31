"""Load of several kinds at once: pools, futures, endless input, closes and kills."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest
from hosts import descendants, wait_gone

from pyproc import Pool, errors

APP = Path(__file__).parent.parent / "fault" / "apps" / "breaking.py"
LIGHT = Path(__file__).parent.parent / "unit" / "apps" / "light_app.py"
DEADLINE = 120.0


def rss() -> int:
    """This process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def holdings() -> tuple[int, int, int]:
    """Descriptors, threads and children."""
    return (
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        len(descendants(os.getpid())),
    )


def open_and_close(times: int) -> None:
    """Pools one after the other, each with every kind of call."""
    for n in range(times):
        with Pool(LIGHT, workers=1, sandbox="none") as pool:
            assert pool.call("add", n, 1) == n + 1
            assert pool.submit("add", n, 2).result(DEADLINE) == n + 2


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What a process loads once is no leak."""
    open_and_close(3)


def settled(before: tuple[int, int, int]) -> bool:
    """Whether nothing is held beyond `before`, after what ends by itself has ended."""
    limit = time.monotonic() + 10
    while any(now > then for now, then in zip(holdings(), before, strict=True)):
        if time.monotonic() > limit:
            return False
        gc.collect()
        time.sleep(0.01)
    return True


def test_pools_opened_and_closed_leave_nothing() -> None:
    open_and_close(10)
    gc.collect()
    before, memory = holdings(), rss()
    open_and_close(30)
    assert settled(before), (before, holdings())
    assert rss() - memory < 4 * 2**20


def test_pools_opened_by_many_threads_at_once_leave_nothing() -> None:
    before = holdings()
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            open_and_close(4)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert wrong == []
    assert settled(before), (before, holdings())


def test_many_open_pools_do_not_disturb_each_other() -> None:
    pools = [Pool(LIGHT, workers=1, output="drop", sandbox="none") for _ in range(16)]
    try:
        futures = [pool.submit("add", n, k) for k in range(20) for n, pool in enumerate(pools)]
        expected = [n + k for k in range(20) for n in range(16)]
        assert [future.result(DEADLINE) for future in futures] == expected
    finally:
        for pool in pools:
            pool.close()


def test_a_hundred_thousand_submits_are_answered_once_each_in_bounded_memory() -> None:
    with Pool(APP, workers=2, sandbox="none") as pool:
        wait([pool.submit("add", n) for n in range(20_000)], DEADLINE)
        gc.collect()
        memory = rss()
        futures = [pool.submit("add", n) for n in range(100_000)]
        assert [future.result(DEADLINE) for future in futures] == list(range(100_000))
        stats = pool.stats()
        assert stats["calls_ok"] == 120_000
        assert stats["calls_waiting"] == stats["calls_running"] == stats["queue_bytes"] == 0
        del futures
        gc.collect()
        assert rss() - memory < 256 * 2**20


def test_a_map_over_an_endless_input_holds_few_items() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    with Pool(APP, workers=2, sandbox="none") as pool:
        results = pool.map("add", source())
        memory = rss()
        for n in range(1, 200_001):
            assert next(results) == n
        assert read - 200_000 < 70_000
        assert rss() - memory < 64 * 2**20
        results.close()


def wake_ups() -> int:
    """Times that any other thread of this process went to sleep, so was woken before."""
    total = 0
    for task in os.listdir("/proc/self/task"):
        if int(task) == threading.get_native_id():
            continue
        text = Path(f"/proc/self/task/{task}/status").read_text()
        total += int(text.partition("voluntary_ctxt_switches:")[2].split()[0])
    return total


def test_an_idle_pool_wakes_nobody_up() -> None:
    with Pool(LIGHT, workers=2, sandbox="none") as pool:
        pool.call("add", 1, 2)
        pool.submit("add", 1, 2).result(DEADLINE)
        time.sleep(0.5)
        before = wake_ups()
        time.sleep(2.0)
        assert wake_ups() == before


@pytest.mark.parametrize("timeout", [0, 0.05, 5, None])
def test_a_close_from_many_threads_under_load_ends_each_call_once(timeout: float | None) -> None:
    ends: list[object] = []
    before = descendants(os.getpid())
    pool = Pool(APP, workers=2, sandbox="none")
    family = descendants(os.getpid()) - before
    started = threading.Barrier(9)

    def work() -> None:
        started.wait(DEADLINE)
        while True:
            try:
                ends.append(pool.call("nap", 0.002))
            except errors.PoolClosed:
                return
            except BaseException as error:
                ends.append(error)
                return

    def close() -> None:
        try:
            pool.close(timeout)
        except BaseException as error:
            ends.append(error)

    futures = [pool.submit("nap", 0.001) for _ in range(200)]
    workers = [threading.Thread(target=work) for _ in range(8)]
    closers = [threading.Thread(target=close) for _ in range(4)]
    for thread in workers:
        thread.start()
    started.wait(DEADLINE)
    time.sleep(0.1)
    for thread in closers:
        thread.start()
    for thread in workers + closers:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert [end for end in ends if end != 0.002] == []
    for future in futures:
        assert future.done()
        assert future.exception() is None or isinstance(future.exception(), errors.PoolClosed)
    if timeout is None:
        assert all(future.exception() is None for future in futures)
    assert wait_gone(family, 2) == set()


def test_cancels_and_kills_from_many_threads_end_each_call_once() -> None:
    with Pool(APP, workers=2, sandbox="none") as pool:
        futures = [pool.submit("nap", 0.01) for _ in range(400)]

        def stop(step: int) -> None:
            for n in range(step, 400, 5):
                futures[n].cancel() if n % 2 else futures[n].kill()

        threads = [threading.Thread(target=stop, args=(step,)) for step in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        done, missing = wait(futures, DEADLINE)
        assert not missing
        for future in done:
            if not future.cancelled():
                error = future.exception()
                assert error is None or isinstance(error, errors.TaskKilled), error
        assert pool.call("add", 1, 2) == 3
