"""The fixture that counts what tests leave behind sees each kind of leftover."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from fix_leaks import PACKAGE, settle, take_holdings


def test_an_open_descriptor_is_seen_until_it_is_closed() -> None:
    before = take_holdings()
    descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    assert "descriptors: " in settle(before, seconds=0)[0]
    os.close(descriptor)
    assert settle(before) == []


def test_a_child_is_seen_until_it_is_reaped() -> None:
    before = take_holdings()
    child = subprocess.Popen(["sleep", "60"])
    assert "children: " in settle(before, seconds=0)[0]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert "children: " in settle(before, seconds=0)[0]
    child.wait(timeout=30)
    assert settle(before) == []


def test_a_thread_is_seen_until_it_ends() -> None:
    before = take_holdings()
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert "threads: " in settle(before, seconds=0)[0]
    end.set()
    thread.join()
    assert settle(before) == []


def test_an_orphan_of_the_package_is_seen_until_it_ends() -> None:
    before = take_holdings()
    script = f'(exec -a "{PACKAGE}/pyproc-keeper" sleep 60) >/dev/null 2>&1 & echo $!'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    orphan = int(done.stdout)
    deadline = threading.Event()
    for _ in range(1000):
        if orphan in take_holdings().children:
            break
        deadline.wait(0.01)  # until bash has become sleep
    assert orphan in take_holdings().children
    os.kill(orphan, signal.SIGKILL)
    assert settle(before) == []
