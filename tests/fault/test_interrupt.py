"""^C at every stage: it reaches the caller soon, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hosts import Host

APP = Path(__file__).parent / "apps" / "breaking.py"

OPEN = "pool = Pool(sys.argv[1], workers=2, sandbox='none')\n"
#: What the host does when ^C comes; `flag` is written by the worker once the call runs.
STAGES = {
    "a leased call": "pool.call('tell', flag, 300)",
    "a leased call that waits for a worker": (
        "busy = [pool.submit('nap', 300) for _ in range(2)]\n"
        "    open(flag, 'w').close()\n"
        "    pool.call('add', 1, 2)"
    ),
    "the result of a future": "pool.submit('tell', flag, 300).result()",
    "a map": "list(pool.map('tell_item', [(flag, n) for n in range(50)]))",
    "an unordered map": (
        "list(pool.map('tell_item', [(flag, n) for n in range(50)], ordered=False))"
    ),
    "a map over an input that never comes": (
        "def slow():\n"
        "        open(flag, 'w').close()\n"
        "        time.sleep(300)\n"
        "        yield 1\n"
        "    list(pool.map('add', slow()))"
    ),
    "asyncio": "import asyncio\n    asyncio.run(pool.acall('tell', flag, 300))",
    "a full queue": (
        "small = Pool(sys.argv[1], workers=1, max_queue=1, sandbox='none')\n"
        "    busy = [small.submit('nap', 300)]\n"
        "    open(flag, 'w').close()\n"
        "    list(small.map('nap', [300] * 9, chunksize=1))"
    ),
    "close, while calls run": "busy = pool.submit('tell', flag, 300)\n    pool.close()",
    "close with a timeout, while calls run": (
        "busy = pool.submit('tell', flag, 300)\n    pool.close(300)"
    ),
    "leaving the with block": ("with pool:\n        busy = pool.submit('tell', flag, 300)"),
}


def wait_for(path: Path) -> None:
    """Until the file is there."""
    limit = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.005)


#: Waits of our own, which end even when the host asked for system calls to be restarted. The
#: others are locks of CPython's, which then do not.
OURS = [stage for stage in STAGES if "leased" in stage or "close" in stage or "block" in stage]


@pytest.mark.parametrize(
    ("stage", "handler"),
    [(stage, "default") for stage in STAGES] + [(stage, "restarting") for stage in OURS],
)
def test_an_interrupt_reaches_the_caller_and_leaves_nothing(
    tmp_path: Path, stage: str, handler: str
) -> None:
    flag = tmp_path / "flag"
    restart = "signal.siginterrupt(signal.SIGINT, False)" if handler == "restarting" else ""
    source = (
        f"flag = {str(flag)!r}\n"
        f"{restart}\n"
        f"{OPEN}"
        f"try:\n    {STAGES[stage]}\n"
        "except KeyboardInterrupt:\n    say('interrupted')\n"
        "pool.close(0)\n"
        "say('closed')\n"
    )
    with Host(tmp_path, source, APP) as host:
        wait_for(flag)
        time.sleep(0.05)  # into the wait itself: the flag comes a moment before it
        begin = time.monotonic()
        host.signal(signal.SIGINT)
        host.expect("interrupted", 10)
        assert time.monotonic() - begin < 5
        host.expect("closed", 10)
        assert host.wait(10) == 0
        assert host.left() == set()


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15, 0.3])
def test_an_interrupt_while_a_pool_opens_leaves_nothing(tmp_path: Path, delay: float) -> None:
    app = tmp_path / "slow_app.py"
    app.write_text(
        "import time\nfrom pyproc import App\ntime.sleep(0.1)\napp = App()\n"
        "@app.expose\ndef add(a: int, b: int) -> int: return a + b\n"
    )
    source = """
        try:
            say('opening')
            pool = Pool(sys.argv[1], workers=4, sandbox="none")
            try:
                pool.call('add', 1, 2)
                say('open')
                time.sleep(5)
            finally:
                pool.close(0)
        except KeyboardInterrupt:
            say('interrupted')
        others = lambda: [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        limit = time.monotonic() + 5
        while others() and time.monotonic() < limit:
            time.sleep(0.01)
        say('over', others())
        """
    with Host(tmp_path, source, app) as host:
        host.expect("opening")
        time.sleep(delay)
        host.signal(signal.SIGINT)
        host.expect("interrupted", 10)
        assert host.expect("over", 10) == "over []"
        assert host.wait(10) == 0
        assert host.left() == set()
        assert "Traceback" not in host.errors()


def test_an_interrupt_that_nobody_catches_ends_the_host_and_everything(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    source = f"{OPEN}pool.call('tell', {str(flag)!r}, 300)\n"
    with Host(tmp_path, source, APP) as host:
        wait_for(flag)
        host.signal(signal.SIGINT)
        assert host.wait(10) == -signal.SIGINT
        assert host.left() == set()
        assert "KeyboardInterrupt" in host.errors()


def test_an_interrupt_of_an_open_pool_that_hangs_at_import_ends_it(tmp_path: Path) -> None:
    app = tmp_path / "hanging_app.py"
    app.write_text("import time\nprint('importing', flush=True)\ntime.sleep(300)\n")
    source = """
        try:
            Pool(sys.argv[1], workers=2, sandbox="none")
        except KeyboardInterrupt:
            say('interrupted')
        """
    with Host(tmp_path, source, app) as host:
        host.expect("importing")
        host.signal(signal.SIGINT)
        host.expect("interrupted", 10)
        assert host.wait(10) == 0
        assert host.left() == set()


def test_the_terminals_interrupt_reaches_no_worker(tmp_path: Path) -> None:
    """The whole foreground group gets ^C; what the host still wants to finish goes on."""
    flag = tmp_path / "flag"
    source = f"""
        signal.signal(signal.SIGINT, lambda *_: say('asked'))
        pool = Pool(sys.argv[1], workers=1, sandbox="none")
        future = pool.submit('tell', {str(flag)!r}, 1.0)
        future.result()
        say('finished', pool.stats()['workers_died'])
        pool.close()
        """
    with Host(tmp_path, source, APP) as host:
        wait_for(flag)
        os.killpg(host.pid, signal.SIGINT)
        host.expect("asked")
        host.expect("finished 0")
        assert host.wait() == 0


def test_many_interrupts_in_a_row_break_nothing(tmp_path: Path) -> None:
    source = f"""
        {OPEN}
        say('ready')
        caught = answered = 0
        limit = time.monotonic() + 4
        while time.monotonic() < limit:
            try:
                while time.monotonic() < limit:
                    assert pool.call('add', answered, 1) == answered + 1
                    answered += 1
                    pool.submit('add', 1, 2).result(20)
            except (KeyboardInterrupt, RuntimeError):
                caught += 1  # the other: what threading.Condition makes of it now and then
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say('counts', caught > 3, answered > 0)
        assert pool.call('add', 1, 2) == 3
        pool.close()
        stats = pool.stats()
        say('running', stats['calls_running'], stats['calls_waiting'])
        """
    with Host(tmp_path, source, APP) as host:
        host.expect("ready")
        for _ in range(25):
            time.sleep(0.1)
            host.signal(signal.SIGINT)
        host.expect("counts True True")
        host.expect("running 0 0")
        assert host.wait() == 0
        assert host.left() == set()
