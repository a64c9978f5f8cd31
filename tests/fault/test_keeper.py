"""The keeper is lost or attacked: its workers' calls end, the pool goes on under a new one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hosts import descendants, is_gone, wait_gone

from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "breaking.py"
DEADLINE = 60.0


def keeper_of(pool: Pool) -> int:
    """The keeper's pid."""
    return pool._core.keeper_pid()


def test_the_calls_under_a_killed_keeper_say_so_and_waiting_ones_go_on(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with Pool(APP, workers=1, sandbox="none") as pool:
        running = pool.submit("tell", str(flag), 60)
        waiting = [pool.submit("add", n, 1) for n in range(20)]
        while not flag.exists():
            time.sleep(0.005)
        worker = pool.workers()[0].pid
        os.kill(keeper_of(pool), signal.SIGKILL)
        with pytest.raises(errors.WorkerKilled) as caught:
            running.result(DEADLINE)
        assert caught.value.cause == "keeper"
        assert wait_gone({worker}, 5) == set()
        assert [future.result(DEADLINE) for future in waiting] == list(range(1, 21))
        assert pool.stats()["keeper_restarts"] == 1
        assert pool.stats()["start_failures"] == 0


def test_a_leased_call_under_a_killed_keeper_says_so() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pool.call("add", 1, 2)
        killer = threading.Timer(0.2, os.kill, (keeper_of(pool), signal.SIGKILL))
        killer.start()
        with pytest.raises(errors.WorkerKilled) as caught:
            pool.call("nap", 60)
        killer.join()
        assert caught.value.cause == "keeper"
        assert pool.call("add", 1, 2) == 3


def test_a_keeper_killed_while_the_pool_idles_costs_no_call() -> None:
    with Pool(APP, workers=2, sandbox="none") as pool:
        for _ in range(5):
            assert pool.call("add", 1, 2) == 3
            keeper = keeper_of(pool)
            os.kill(keeper, signal.SIGKILL)
            assert pool.call("add", 1, 2) == 3
            assert pool.submit("add", 1, 2).result(DEADLINE) == 3
            assert wait_gone({keeper}, 5) == set()


def test_a_keeper_killed_again_and_again_under_load_loses_and_hangs_nothing() -> None:
    ends: list[object] = []

    def work() -> None:
        for n in range(150):
            try:
                ends.append(pool.call("add", n, 0) == n)
            except errors.WorkerKilled as error:
                ends.append(error.cause in ("keeper", "signal"))
            except BaseException as error:
                ends.append(error)

    with Pool(APP, workers=2, sandbox="none") as pool:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        limit = time.monotonic() + DEADLINE
        while any(thread.is_alive() for thread in threads) and time.monotonic() < limit:
            time.sleep(0.3)
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper_of(pool), signal.SIGKILL)
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        assert ends == [True] * 600


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_worker_that_kills_the_keeper_costs_its_own_call(way: str) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        with pytest.raises(errors.WorkerKilled) as caught:
            if way == "call":
                pool.call("kill_parent", signal.SIGKILL)
            else:
                pool.submit("kill_parent", signal.SIGKILL).result(DEADLINE)
        assert caught.value.cause == "keeper"
        assert pool.call("add", 1, 2) == 3


def test_a_worker_that_stops_the_keeper_holds_up_neither_its_deadline_nor_the_close() -> None:
    before = descendants(os.getpid())
    with Pool(APP, workers=1, sandbox="none") as pool:
        begin = time.monotonic()
        with pytest.raises(errors.Error):
            pool.options(timeout=0.5).call("kill_parent", signal.SIGSTOP)
        assert time.monotonic() - begin < 20
        assert pool.call("add", 1, 2) == 3
        os.kill(keeper_of(pool), signal.SIGSTOP)
        begin = time.monotonic()
    assert time.monotonic() - begin < 20
    assert wait_gone(descendants(os.getpid()) - before, 5) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_what_a_service_manager_sends_to_everybody_does_not_end_the_keeper(number: int) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        keeper = keeper_of(pool)
        os.kill(keeper, number)
        assert pool.call("add", 1, 2) == 3
        assert not is_gone(keeper)
        assert pool.stats()["keeper_restarts"] == 0


def test_a_keeper_that_cannot_be_started_is_a_start_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "pyproc"
    empty.mkdir()
    monkeypatch.setattr("pyproc.pool.os.path.dirname", lambda _: str(empty))
    with pytest.raises(errors.WorkerStartError, match="keeper"):
        Pool(APP, workers=1, sandbox="none")


def test_a_worker_that_took_back_its_death_signal_goes_with_the_keeper_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "clinging.py").write_text(
        "import ctypes, pathlib, time\n"
        "from pyproc import App\n"
        "app = App()\n"
        "@app.expose\n"
        "def cling(flag: str) -> None:\n"
        "    assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0\n"
        "    pathlib.Path(flag).touch()\n"
        "    time.sleep(120)\n"
    )
    flag = tmp_path / "flag"
    with Pool(tmp_path / "clinging.py", workers=1, sandbox="none") as pool:
        future = pool.submit("cling", str(flag))
        while not flag.exists() and not future.done():
            time.sleep(0.005)
        worker = pool.workers()[0].pid
        os.kill(keeper_of(pool), signal.SIGKILL)
        with pytest.raises(errors.WorkerKilled):
            future.result(DEADLINE)
        assert wait_gone({worker}, 10) == set()
