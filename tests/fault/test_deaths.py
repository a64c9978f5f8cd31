"""A worker dies: its call says how in fields, and nothing else is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest
from hosts import is_gone, wait_gone

from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "breaking.py"
DEADLINE = 60.0


@pytest.fixture(name="pool")
def one_worker() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


def wait_file(path: Path) -> str:
    """The file's text, once it has one."""
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        with contextlib.suppress(FileNotFoundError):
            if text := path.read_text():
                return text
        time.sleep(0.002)
    raise AssertionError(f"{path} did not come")


@pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself")
@pytest.mark.parametrize(
    ("how", "number", "seen"),
    [
        ("segfault", 0, signal.SIGSEGV),
        ("abort", 0, signal.SIGABRT),
        ("overflow", 0, signal.SIGSEGV),
        ("signal", signal.SIGBUS, signal.SIGBUS),
        ("signal", signal.SIGFPE, signal.SIGFPE),
        ("signal", signal.SIGILL, signal.SIGILL),
        ("signal", signal.SIGALRM, signal.SIGALRM),
        ("signal", signal.SIGRTMAX, signal.SIGRTMAX),
    ],
)
@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_crash_names_its_signal(pool: Pool, way: str, how: str, number: int, seen: int) -> None:
    with pytest.raises(errors.WorkerCrashed) as caught:
        if way == "call":
            pool.call("die", how, number)
        else:
            pool.submit("die", how, number).result(DEADLINE)
    assert caught.value.signal == seen
    assert caught.value.exit_code is None
    assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("how", ["_exit", "exit in C"])
@pytest.mark.parametrize("code", [0, 7, 255])
def test_an_exit_names_its_code(pool: Pool, way: str, how: str, code: int) -> None:
    with pytest.raises(errors.WorkerExited) as caught:
        if way == "call":
            pool.call("die", how, code)
        else:
            pool.submit("die", how, code).result(DEADLINE)
    assert caught.value.exit_code == code
    assert caught.value.signal is None
    assert pool.call("add", 1, 2) == 3


def test_sys_exit_is_an_exception_of_the_function_and_costs_no_worker(pool: Pool) -> None:
    before = pool.call("pid")
    with pytest.raises(errors.RemoteError) as caught:
        pool.call("leave", 3)
    assert caught.value.type_name == "SystemExit"
    assert pool.call("pid") == before


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("how", ["half an answer", "close", "close all"])
def test_an_answer_that_never_comes_whole_is_a_death(pool: Pool, way: str, how: str) -> None:
    with pytest.raises(errors.WorkerDied):
        if way == "call":
            pool.call("die", how, 4)
        else:
            pool.submit("die", how, 4).result(DEADLINE)
    assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_kill_from_outside_is_told_apart_from_a_crash(
    pool: Pool, way: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    killer = threading.Thread(target=lambda: os.kill(int(wait_file(flag)), signal.SIGKILL))
    killer.start()
    with pytest.raises(errors.WorkerKilled) as caught:
        if way == "call":
            pool.call("tell", str(flag), 60)
        else:
            pool.submit("tell", str(flag), 60).result(DEADLINE)
    killer.join()
    assert caught.value.signal == signal.SIGKILL
    assert caught.value.python_stack is None
    assert caught.value.python_stack_missing
    assert pool.call("add", 1, 2) == 3


@pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself")
@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_crash_is_diagnosed_in_fields(pool: Pool, way: str) -> None:
    pid = pool.call("pid")
    with pytest.raises(errors.WorkerCrashed) as caught:
        if way == "call":
            pool.call("die", "segfault")
        else:
            pool.submit("die", "segfault").result(DEADLINE)
    error = caught.value
    assert error.pid == pid
    assert error.worker_id == 1
    assert error.function == "die"
    assert error.call_id is not None
    assert error.tasks_done == 1
    assert error.age is not None
    assert 0 < error.age < DEADLINE
    assert error.cause == "signal"
    assert error.python_stack is not None
    assert "in die" in error.python_stack
    assert error.stderr_tail is not None
    assert "last words" in error.stderr_tail
    assert error.rusage is not None
    assert "die" in str(error)
    assert "SIGSEGV" in str(error)


def test_an_exit_shows_what_was_written_to_stderr_last(pool: Pool) -> None:
    with pytest.raises(errors.WorkerExited, match="last words") as caught:
        pool.call("die", "_exit", 1)
    assert caught.value.stderr_tail == "last words\n"


def test_a_worker_that_dies_while_idle_costs_no_call(pool: Pool) -> None:
    for _ in range(10):
        pid = pool.call("pid")
        os.kill(pid, signal.SIGKILL)
        assert pool.call("add", 1, 2) == 3


def test_a_worker_that_dies_while_idle_costs_no_queued_call(pool: Pool) -> None:
    for _ in range(10):
        pid = pool.call("pid")
        os.kill(pid, signal.SIGKILL)
        assert pool.submit("add", 1, 2).result(DEADLINE) == 3


def test_a_stopped_worker_ends_by_its_deadline(pool: Pool) -> None:
    pid = pool.call("pid")
    begin = time.monotonic()
    with pytest.raises(errors.TaskTimeout) as caught:
        pool.options(timeout=0.2).call("stubborn", "stop")
    assert caught.value.stage == "run"
    assert time.monotonic() - begin < 10
    assert is_gone(pid)
    assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_that_a_stopped_worker_never_saw_goes_to_another(way: str) -> None:
    large = bytes(8 * 2**20)  # more than the socket takes
    with Pool(APP, workers=1, buffer_threshold=None, sandbox="none") as pool:
        os.kill(pool.call("pid"), signal.SIGSTOP)
        if way == "call":
            assert pool.call("size", large) == len(large)
        else:
            assert pool.submit("size", large).result(DEADLINE) == len(large)


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself")
def test_a_grandchild_with_the_workers_descriptors_holds_nobody_up(
    pool: Pool, way: str, session: bool, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    with pytest.raises(errors.WorkerCrashed):
        if way == "call":
            pool.call("orphan_and_die", str(path), session)
        else:
            pool.submit("orphan_and_die", str(path), session).result(DEADLINE)
    assert wait_gone({int(pid) for pid in path.read_text().split()}) == set()
    assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("session", [False, True])
def test_the_processes_that_a_worker_started_die_with_the_pool(
    session: bool, tmp_path: Path
) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pids = set(pool.call("orphan", str(tmp_path / "pids"), session, times=3))
        assert not any(is_gone(pid) for pid in pids)
    assert wait_gone(pids, 5) == set()


def test_a_daemon_that_a_worker_made_dies_with_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with Pool(APP, workers=1, sandbox="none") as pool:
        pool.call("daemonize", str(path))
        pid = int(path.read_text())
        assert not is_gone(pid)
    assert wait_gone({pid}, 5) == set()


def test_a_deadline_ends_what_the_worker_started_too(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    pool.call("daemonize", str(path))
    with pytest.raises(errors.TaskTimeout):
        pool.options(timeout=0.2).call("nap", 60)
    assert wait_gone({int(path.read_text())}, 5) == set()


@pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself")
def test_others_calls_go_on_while_one_thread_crashes_workers() -> None:
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(200):
                assert pool.call("add", n, 1) == n + 1
        except BaseException as error:
            wrong.append(error)

    with Pool(APP, workers=3, sandbox="none") as pool:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            with pytest.raises(errors.WorkerCrashed):
                pool.call("die", "segfault")
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
    assert wrong == []


@contextlib.contextmanager
def random_kills(pool: Pool) -> Iterator[Counter[str]]:
    """Workers are killed at random while this is entered; the number of kills is counted."""
    choice = random.Random(7)
    over = threading.Event()
    kills: Counter[str] = Counter()

    def run() -> None:
        while not over.wait(choice.uniform(0.01, 0.05)):
            started = [worker for worker in pool.workers() if worker.state in ("ready", "busy")]
            if started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(choice.choice(started).pid, signal.SIGKILL)
                    kills["sent"] += 1

    killer = threading.Thread(target=run)
    killer.start()
    try:
        yield kills
    finally:
        over.set()
        killer.join()


def test_each_of_thousands_of_queued_calls_ends_once_under_random_kills() -> None:
    ends: Counter[str] = Counter()

    def count(done: Future[object]) -> None:  # the delivery thread's, one after the other
        ends["error" if done.exception() else "value"] += 1

    with Pool(APP, workers=2, sandbox="none") as pool:
        with random_kills(pool) as kills:
            futures = [pool.submit("add", n, 1) for n in range(5000)]
            for future in futures:
                future.add_done_callback(count)
            _, missing = wait(futures, timeout=120)
        stats = pool.stats()
    assert not missing
    raised = [error for future in futures if (error := future.exception())]
    assert all(isinstance(error, errors.WorkerDied) for error in raised), raised[:3]
    assert len(raised) <= kills["sent"]
    right = [n for n, future in enumerate(futures) if not future.exception()]
    assert [futures[n].result() for n in right] == [n + 1 for n in right]
    assert ends["value"] + ends["error"] == 5000
    assert stats["calls_admitted"] == 5000
    assert stats["calls_ok"] == ends["value"]
    assert stats["calls_crashed"] == ends["error"]
    assert stats["calls_waiting"] == stats["calls_running"] == 0


def test_each_leased_call_of_many_threads_ends_once_under_random_kills() -> None:
    ends: Counter[str] = Counter()
    wrong: list[object] = []
    lock = threading.Lock()

    def work() -> None:
        mine: Counter[str] = Counter()
        for n in range(300):
            try:
                value = pool.call("add", n, 1)
                mine["value"] += 1
                if value != n + 1:
                    wrong.append(value)
            except errors.WorkerDied:
                mine["died"] += 1
            except BaseException as error:
                wrong.append(error)
        with lock:
            ends.update(mine)

    with Pool(APP, workers=2, sandbox="none") as pool:
        with random_kills(pool) as kills:
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            assert not any(thread.is_alive() for thread in threads)
        stats = pool.stats()
    assert wrong == []
    assert ends["value"] + ends["died"] == 2400
    assert ends["died"] <= kills["sent"]
    assert stats["calls_ok"] == ends["value"]


def test_a_call_that_ran_is_not_run_again_when_its_worker_dies(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    futures = [pool.submit("mark", str(log), n, 0.02) for n in range(60)]
    for _ in range(4):
        time.sleep(0.1)
        for worker in pool.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
    wait(futures, timeout=DEADLINE)
    assert all(future.done() for future in futures)
    runs = log.read_bytes()
    counts = Counter(int.from_bytes(runs[at : at + 4], "big") for at in range(0, len(runs), 4))
    assert max(counts.values()) == 1
    answered = {n for n, future in enumerate(futures) if not future.exception()}
    assert answered <= set(counts)


def test_calls_that_wait_behind_many_deadly_ones_are_all_answered() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        deadly = [pool.submit("die", "_exit", 9) for _ in range(12)]
        mixed = [pool.submit("add", n, 1) for n in range(10)]
        deadly += [pool.submit("die", "_exit", 9) for _ in range(6)]
        mixed += [pool.submit("add", n, 1) for n in range(10, 20)]
        assert [future.result(DEADLINE) for future in mixed] == list(range(1, 21))
        for future in deadly:
            assert isinstance(future.exception(DEADLINE), errors.WorkerExited)
