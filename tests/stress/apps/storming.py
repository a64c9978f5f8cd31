"""What the storm's workers run: functions that answer, and every way not to."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time

from pyproc import App

app = App()


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def reverse(data: bytes) -> bytes:
    return data[::-1]


@app.expose
def refuse(n: int) -> None:
    raise ValueError(f"refused {n}")


@app.expose
def talk(lines: int) -> int:
    """Prints on both streams."""
    for n in range(lines):
        print("out", n, "." * 60)
        print("err", n, "." * 60, file=sys.stderr)
    return lines


@app.expose
def mark(path: str, key: int, seconds: float = 0.0, then: str = "") -> int:
    """Notes in a file that this key was run, so that runs can be counted; then breaks, if asked."""
    record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(record, key.to_bytes(8, "big"))
    os.close(record)
    if seconds:
        time.sleep(seconds)
    if then:
        crash(then)
    return key


@app.expose
def mark_item(item: tuple[str, int, str]) -> int:
    return mark(item[0], item[1], 0.0, item[2])


@app.expose
def crash(how: str) -> None:
    """Ends its worker at once."""
    if how == "segv":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "exit":
        os._exit(7)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "close":
        os.closerange(0, 256)
        os._exit(8)
    raise AssertionError(how)


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@app.expose
def hang(how: str) -> None:
    """Goes on for ever, each time in another way."""
    if how == "regex":
        re.match(r"(a+)+$", "a" * 64 + "b")
    elif how == "held":
        ctypes.PyDLL(None).pause()  # in C, and never gives the GIL back
    elif how == "deaf":
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
    elif how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "child":
        keeper = os.getppid()
        if os.fork() == 0:
            while is_running(keeper):  # which ends its workers' trees; nobody does without it
                time.sleep(0.1)
            os._exit(0)
    elif how == "thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    while True:
        time.sleep(1)


@app.expose
def leak(mib: int) -> int:
    """Takes more and more memory, a MiB at a time."""
    kept = []
    for _ in range(mib):
        kept.append(b"x" * (1 << 20))
    return len(kept)
