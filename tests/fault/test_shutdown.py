"""Calls from odd places, and the end of the interpreter: clear errors or a clean end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from hosts import Host, descendants, wait_gone

import pyproc
from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "breaking.py"
DEADLINE = 60.0


# ---- forgotten pools ----


def test_a_forgotten_pool_warns_and_its_processes_go(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    before = descendants(os.getpid())
    pool = Pool(APP, workers=2, sandbox="none")
    pool.call("add", 1, 2)
    family = descendants(os.getpid()) - before
    assert len(family) >= 2
    begin = time.monotonic()
    del pool
    gc.collect()
    assert time.monotonic() - begin < 0.5  # it does not wait
    assert wait_gone(family, 5) == set()
    assert [str(w.message) for w in recwarn if w.category is ResourceWarning] == [
        "unclosed <pyproc.Pool open max_workers=2>"
    ]


def test_a_future_keeps_its_pool_open_until_it_is_answered() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        future = Pool(APP, workers=1, sandbox="none").submit("nap", 0.3)
        gc.collect()
        assert future.result(DEADLINE) == 0.3
        del future
        gc.collect()


def test_a_map_keeps_its_pool_open_until_it_is_done() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert list(Pool(APP, workers=1, sandbox="none").map("add", range(20))) == list(range(20))
        gc.collect()


def test_a_pool_in_a_cycle_is_collected_with_its_processes() -> None:
    class Holder:
        pool: Pool
        me: Holder

    before = descendants(os.getpid())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        holder = Holder()
        holder.me, holder.pool = holder, Pool(APP, workers=1, sandbox="none")
        family = descendants(os.getpid()) - before
        del holder
        gc.collect()
    assert wait_gone(family, 5) == set()


FORGOTTEN = {
    "idle": "",
    "after calls": "pool.call('add', 1, 2); pool.submit('add', 1, 2).result(30)",
    "with a call running": "future = pool.submit('nap', 300); time.sleep(0.1)",
    "with many calls waiting": "futures = [pool.submit('nap', 300) for _ in range(500)]",
    "with a map half read": ("results = pool.map('nap', [0.01] * 10 + [300] * 100); next(results)"),
    "with a daemon thread in a call": (
        "threading.Thread(target=pool.call, args=('nap', 300), daemon=True).start(); "
        "time.sleep(0.2)"
    ),
    "with daemon threads that never stop calling": (
        # A daemon thread that writes to stderr while the interpreter ends may abort it (CPython).
        "threading.excepthook = lambda _: None\n"
        "def work():\n"
        "    while True: pool.call('add', 1, 2)\n"
        "def submit():\n"
        "    while True: pool.submit('add', 1, 2).result()\n"
        "for target in (work, work, submit, submit):\n"
        "    threading.Thread(target=target, daemon=True).start()\n"
        "time.sleep(0.3)"
    ),
    "with a daemon thread that opens another": (
        "open_it = lambda: Pool(sys.argv[1], workers=8, sandbox='none'); "
        "threading.Thread(target=open_it, daemon=True).start(); "
        "time.sleep(0.02)"
    ),
    "with a worker that floods stdout": "future = pool.submit('flood', 'lines'); time.sleep(0.2)",
    "with a worker that is stopped": "os.kill(pool.call('pid'), signal.SIGSTOP)",
}


@pytest.mark.parametrize("state", FORGOTTEN)
def test_a_pool_left_open_at_exit_is_killed_with_a_warning(tmp_path: Path, state: str) -> None:
    source = (
        "pool = Pool(sys.argv[1], workers=2, sandbox='none')\n"
        + FORGOTTEN[state]
        + "\nsay('at the end')\n"
    )
    with Host(tmp_path, source, APP) as host:
        if "floods" not in state:
            host.expect("at the end")
        begin = time.monotonic()
        assert host.wait(15) == 0, host.errors()
        assert time.monotonic() - begin < 10
        assert host.left() == set()
        assert "ResourceWarning: unclosed <pyproc.Pool" in host.errors()
        assert "Fatal Python error" not in host.errors()


@pytest.mark.parametrize("how", ["sys.exit(5)", "os._exit(5)", "exit by exception"])
def test_every_way_to_exit_leaves_nothing(tmp_path: Path, how: str) -> None:
    end = "raise RuntimeError('five')" if how.startswith("exit by") else how
    opening = "pool = Pool(sys.argv[1], workers=2, sandbox='none')"
    source = f"{opening}\nfuture = pool.submit('nap', 300)\n{end}\n"
    with Host(tmp_path, source, APP) as host:
        assert host.wait(15) == (1 if "raise" in end else 5)
        assert host.left() == set()


@pytest.mark.parametrize("way", ["pool.call('add', 1, 2)", "pool.submit('add', 1, 2).result(20)"])
@pytest.mark.parametrize(
    "place", ["atexit before", "atexit after", "module __del__", "thread that ends last"]
)
def test_a_call_at_interpreter_shutdown_answers_or_says_that_the_pool_is_closed(
    tmp_path: Path, place: str, way: str
) -> None:
    attempt = f"""from pyproc import PoolClosed
def attempt():
    try:
        os.write(1, b'answer %d\\n' % {way})
    except PoolClosed:
        os.write(1, b'answer closed\\n')
    except RuntimeError as error:
        os.write(1, b'answer ' + str(error).encode() + b'\\n')
"""
    opening = "pool = Pool(sys.argv[1], workers=1, sandbox='none')\n"
    source = {
        # Handlers run last first: pyproc's own was registered when pyproc.pool was imported.
        "atexit before": f"import atexit\n{attempt}{opening}atexit.register(attempt)\n",
        "atexit after": (
            f"import atexit\n{attempt}import pyproc.pool\n{opening}"
            "atexit._run_exitfuncs()\nattempt()\n"
        ),
        "module __del__": (
            f"{attempt}{opening}"
            "class Late:\n    def __del__(self, attempt=attempt): attempt()\n"
            "late = Late()\n"
        ),
        "thread that ends last": (
            f"{attempt}{opening}"
            "def wait():\n    threading.main_thread().join()\n    attempt()\n"
            "threading.Thread(target=wait).start()\n"
        ),
    }[place]
    with Host(tmp_path, source, APP) as host:
        assert host.wait(20) == 0, host.errors()
        # Once the modules are taken down, CPython itself refuses what would be imported.
        assert "answer" in host.output or "Python is likely shutting down" in host.errors()
        assert host.left() == set()
        assert "Fatal Python error" not in host.errors()


def test_a_closed_pool_at_exit_says_nothing(tmp_path: Path) -> None:
    source = """
        warnings.simplefilter('always')
        with Pool(sys.argv[1], workers=2, sandbox="none") as pool:
            pool.submit('add', 1, 2).result(30)
        """
    with Host(tmp_path, source, APP) as host:
        assert host.wait() == 0
        assert host.errors() == ""
        assert host.left() == set()


# ---- calls from within ----


def test_a_signal_handler_may_call_while_another_worker_is_free(tmp_path: Path) -> None:
    source = """
        pool = Pool(sys.argv[1], workers=2, sandbox="none")
        def handler(*_):
            say('handler', pool.call('add', 1, 2))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        say('main', pool.call('nap', 1.0))
        pool.close()
        """
    with Host(tmp_path, source, APP) as host:
        host.expect("handler 3")
        host.expect("main 1.0")
        assert host.wait() == 0


@pytest.mark.parametrize("waits", ["in its own call", "in line for a worker"])
@pytest.mark.parametrize("way", ["call", "submit, then result"])
def test_a_signal_handler_that_would_wait_for_its_own_thread_gets_an_error(
    tmp_path: Path, waits: str, way: str
) -> None:
    call = "pool.call('add', 1, 2)" if way == "call" else "pool.submit('add', 1, 2).result(2)"
    busy = (
        "" if waits == "in its own call"
        else "busy = pool.submit('nap', 1.0)\nwhile not pool.stats()['workers_busy']: pass\n"
    )  # fmt: skip
    source = (
        "pool = Pool(sys.argv[1], workers=1, sandbox='none')\n"
        "def handler(*_):\n"
        f"    try: say('handler', {call})\n"
        "    except TimeoutError: say('handler error timeout')\n"
        "    except pyproc.Error as error: say('handler error', error)\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        f"{busy}"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "say('main', pool.call('nap', 3.0))\n"
        "pool.close()\n"
    )
    with Host(tmp_path, source, APP) as host:
        line = host.expect("handler", 20)
        if way == "call":
            assert "inside a call" in line
        else:
            assert line in ("handler error timeout", "handler 3")
        host.expect("main 3.0", 20)
        assert host.wait() == 0
        assert host.left() == set()


def test_a_finalizer_may_call() -> None:
    seen: list[object] = []

    class Thing:
        me: Thing

        def __del__(self) -> None:
            try:
                seen.append(pool.call("add", 1, 2))
            except errors.Error as error:
                seen.append(error)

    with Pool(APP, workers=1, sandbox="none") as pool:
        for _ in range(20):
            thing = Thing()
            thing.me = thing
        del thing
        gc.collect()
    assert seen == [3] * 20


def test_a_finalizer_that_runs_inside_the_delivery_of_futures_may_submit() -> None:
    seen: list[object] = []

    class Thing:
        def __del__(self) -> None:
            seen.append(pool.submit("add", 2, 2))

    with Pool(APP, workers=1, sandbox="none") as pool:
        future = pool.submit("add", 1, 2)
        future.add_done_callback(lambda _, thing=Thing(): None)  # type: ignore[misc]
        assert future.result(DEADLINE) == 3
        del future
        gc.collect()
        limit = time.monotonic() + DEADLINE
        while not seen:
            assert time.monotonic() < limit
            time.sleep(0.005)
        assert seen[0].result(DEADLINE) == 4  # type: ignore[attr-defined]


def test_a_callback_of_a_future_may_call_submit_and_close() -> None:
    done: list[object] = []
    pool = Pool(APP, workers=1, sandbox="none")

    def callback(_: object) -> None:
        done.append(pool.call("add", 1, 2))
        pool.submit("add", 1, 2)
        pool.close()
        done.append("closed")

    pool.submit("nap", 0.05).add_done_callback(callback)
    limit = time.monotonic() + DEADLINE
    while "closed" not in done:
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert done == [3, "closed"]
    with pytest.raises(pyproc.PoolClosed):
        pool.call("add", 1, 2)
    pool.close()


def test_a_callback_that_raises_costs_nobody_else_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def bad(_: object) -> None:
        raise SystemExit("a bad callback")

    with Pool(APP, workers=1, sandbox="none") as pool:
        first = pool.submit("nap", 0.05)
        first.add_done_callback(bad)
        rest = [pool.submit("add", n) for n in range(20)]
        assert [future.result(DEADLINE) for future in rest] == list(range(20))
        assert first.result(DEADLINE) == 0.05
    assert "a bad callback" in caplog.text
    caplog.clear()  # the traceback holds the delivery thread's queue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_host_that_dies_of_a_signal_leaves_nothing(tmp_path: Path, number: int) -> None:
    source = (
        "pool = Pool(sys.argv[1], workers=2, sandbox='none')\nsay('open')\npool.call('nap', 300)\n"
    )
    with Host(tmp_path, source, APP) as host:
        host.expect("open")
        host.signal(number)
        assert host.wait(10) == -number
        assert host.left(2) == set()


def test_a_host_that_reaps_every_child_itself_loses_nothing(tmp_path: Path) -> None:
    source = """
        def reap(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, reap)
        with Pool(sys.argv[1], workers=2, sandbox="none") as pool:
            for _ in range(5):
                try:
                    pool.call('die', '_exit', 3)
                except pyproc.WorkerExited as error:
                    say('exited', error.exit_code)
            os.system('true')
            say('answer', pool.call('add', 1, 2))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with Pool(sys.argv[1], workers=2, sandbox="none") as pool:
            try:
                pool.call('die', '_exit', 4)
            except pyproc.WorkerExited as error:
                say('ignored', error.exit_code)
        say('over')
        """
    with Host(tmp_path, source, APP) as host:
        host.expect("exited 3")
        host.expect("answer 3")
        host.expect("ignored 4")
        host.expect("over")
        assert host.wait() == 0
        assert host.left() == set()


def test_importing_and_never_opening_starts_nothing() -> None:
    code = (
        "import threading, os, pyproc.pool, pyproc._core\n"
        "print(threading.active_count(), len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    assert done.stdout.split() == ["1", "1"]
