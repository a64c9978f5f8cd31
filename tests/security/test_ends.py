"""Nothing outlives its deadline, its pool, or its host."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hosts import Host, descendants, is_gone, wait_gone

from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "prober.py"

HOLDS = [
    "a loop in Python",
    "a loop that catches everything",
    "a call in C that keeps the GIL",
    "a loop in C that keeps the GIL",
    "all signals blocked",
    "stopped",
    "asleep",
    "waits for a child",
]


@pytest.mark.parametrize("way", ["call", "submit"])
@pytest.mark.parametrize("how", HOLDS)
def test_a_deadline_ends_whatever_runs(tmp_path: Path, way: str, how: str) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        pid = pool.call("pid")
        calls = pool.options(timeout=0.5)
        begin = time.monotonic()
        with pytest.raises(errors.TaskTimeout) as caught:
            if way == "call":
                calls.call("hold", how, str(tmp_path / "flag"))
            else:
                calls.submit("hold", how, str(tmp_path / "flag")).result(30)
        assert 0.4 < time.monotonic() - begin < 5
        assert caught.value.stage == "run"
        assert is_gone(pid)
        assert pool.call("add", 1, 2) == 3


@pytest.mark.parametrize("how", HOLDS)
def test_a_kill_ends_whatever_runs(tmp_path: Path, how: str) -> None:
    flag = tmp_path / "flag"
    with Pool(APP, workers=1, sandbox="none") as pool:
        pid = pool.call("pid")
        future = pool.submit("hold", how, str(flag))
        wait_for(flag)
        assert future.kill()
        with pytest.raises(errors.TaskKilled):
            future.result(30)
        assert is_gone(pid)


@pytest.mark.parametrize("how", HOLDS)
def test_close_ends_whatever_runs(tmp_path: Path, how: str) -> None:
    flag = tmp_path / "flag"
    before = descendants(os.getpid())
    pool = Pool(APP, workers=1, sandbox="none")
    future = pool.submit("hold", how, str(flag))
    wait_for(flag)
    family = descendants(os.getpid()) - before
    begin = time.monotonic()
    pool.close(0)
    assert time.monotonic() - begin < 5
    assert wait_gone(family, 1) == set()
    with pytest.raises(errors.PoolClosed):
        future.result(0)


def wait_for(path: Path) -> None:
    """Until the file is there."""
    limit = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.005)


BODIES = {
    "idle": "[pool.submit('add', 1, 2).result(30) for _ in range(9)]\nopen(flag, 'w').close()",
    "in a leased call": "pool.call('hold', 'asleep', flag)",
    "with a stopped worker": "pool.call('hold', 'stopped', flag)",
    "with all signals blocked": "pool.call('hold', 'all signals blocked', flag)",
    "with a child": "pool.call('hold', 'waits for a child', flag)",
    "with children of every kind": (
        "pool.call('leave_children', 'session, group, orphan, stubborn, stopped, no death signal',"
        " flag)"
    ),
    "under load": (
        "def work():\n"
        "    while True: pool.call('add', 1, 2)\n"
        "[threading.Thread(target=work, daemon=True).start() for _ in range(4)]\n"
        "time.sleep(0.3)\n"
        "open(flag, 'w').close()"
    ),
}


@pytest.mark.parametrize("state", BODIES)
def test_every_process_is_gone_within_a_second_of_the_hosts_sigkill(
    tmp_path: Path, state: str
) -> None:
    flag = tmp_path / "flag"
    source = (
        f"flag = {str(flag)!r}\npool = Pool(sys.argv[1], workers=3, sandbox='none')\n"
        f"{BODIES[state]}\n"
        "time.sleep(1000)\n"
    )
    with Host(tmp_path, source, APP) as host:
        wait_for(flag)
        assert host.family()
        host.signal(signal.SIGKILL)
        host.wait()
        assert host.left(1.0) == set()


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15])
def test_every_process_is_gone_when_the_host_is_killed_while_it_opens(
    tmp_path: Path, delay: float
) -> None:
    source = (
        "say('opening')\npool = Pool(sys.argv[1], workers=8, sandbox='none')\ntime.sleep(1000)\n"
    )
    with Host(tmp_path, source, APP) as host:
        host.expect("opening")
        time.sleep(delay)
        host.signal(signal.SIGKILL)
        host.wait()
        assert host.left(1.0) == set()


def test_a_host_killed_while_many_workers_start_leaves_nothing(tmp_path: Path) -> None:
    source = """
        pool = Pool(sys.argv[1], min_workers=12, max_workers=12, sandbox="none")
        say('open')
        time.sleep(1000)
        """
    with Host(tmp_path, source, APP) as host:
        host.expect("open")
        host.signal(signal.SIGKILL)
        host.wait()
        assert host.left(1.5) == set()


@pytest.mark.parametrize("exec_", ["/bin/sleep", "self"])
def test_a_host_that_execs_another_program_leaves_nothing(tmp_path: Path, exec_: str) -> None:
    """The host's pid lives on; its sockets close on exec."""
    program = (
        "os.execv('/bin/sleep', ['sleep', '30'])"
        if exec_ == "/bin/sleep"
        else "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(30)'])"
    )
    source = (
        f"pool = Pool(sys.argv[1], workers=2, sandbox='none')\npool.call('add', 1, 2)\n{program}\n"
    )
    with Host(tmp_path, source, APP) as host:
        limit = time.monotonic() + 30
        while Path(f"/proc/{host.pid}/cmdline").read_bytes().count(b"host_"):
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert host.left(2.0) == set()
