"""Functions that break their worker in every way, and a few that do not."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import wire

from pyproc import App

app = App()


def _find() -> tuple[int, int, int]:
    """The worker's own descriptors: call channel, event channel, crash file."""
    found: dict[str, list[int]] = {}
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        found.setdefault(target.partition(":")[0 if target.startswith("socket") else 2], []).append(
            number
        )
    crash = next(fds[0] for name, fds in found.items() if "pyproc-crash" in name)
    return found["socket"][0], found["socket"][1], crash


CALL, EVENT, CRASH = _find()


def _mapped(name: str) -> tuple[int, int]:
    """Where a page that is shared with the host lies, and its size."""
    with open("/proc/self/maps") as maps:
        line = next(line for line in maps if f"memfd:pyproc-{name}" in line)
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    return begin, end - begin


def _call_id() -> int:
    return int(ctypes.c_uint64.from_address(_mapped("control")[0]).value)


def _result(payload: bytes = b"\xc0", codec: int = 1, shift: int = 0) -> dict[int, object]:
    return {1: wire.Fixed(_call_id() + shift), 2: payload, 3: codec}


@app.expose
def add(a: int, b: int = 0) -> int:
    return a + b


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def tell(path: str, seconds: float) -> None:
    """Says that it runs, by a file, and sleeps."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


@app.expose
def tell_item(item: tuple[str, int]) -> None:
    tell(item[0], 300)


@app.expose
def mark(path: str, item: int, seconds: float = 0.0) -> int:
    """Appends one byte a run, so that runs can be counted."""
    with open(path, "ab") as file:
        file.write(item.to_bytes(4, "big"))
    time.sleep(seconds)
    return item


@app.expose
def size(data: bytes) -> int:
    return len(data)


@app.expose
def blob(size: int) -> bytes:
    return bytes(size)


# ---- deaths ----


def _segfault() -> None:
    ctypes.string_at(0)


def _overflow() -> None:
    """Recursion in C until the stack is used up."""
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    libc = ctypes.CDLL(None)
    numbers = (ctypes.c_int * 2)(2, 1)

    sys.setrecursionlimit(10**9)

    def deeper(_a: int, _b: int) -> int:
        libc.qsort(numbers, 2, 4, compare(deeper))
        return 0

    deeper(0, 0)


@app.expose
def die(how: str, number: int = 0) -> None:
    print("last words", file=sys.stderr, flush=True)
    if how == "segfault":
        _segfault()
    elif how == "abort":
        os.abort()
    elif how == "overflow":
        _overflow()
    elif how == "signal":
        os.kill(os.getpid(), number)
    elif how == "_exit":
        os._exit(number)
    elif how == "exit in C":
        ctypes.CDLL(None).exit(number)
    elif how == "close":
        os.close(CALL)
    elif how == "close all":
        os.closerange(0, 256)
    elif how == "half an answer":
        os.write(CALL, wire.frame(wire.RESULT, _result(bytes(100)))[:-50])
        os._exit(number)
    time.sleep(60)


@app.expose
def leave(code: int) -> None:
    sys.exit(code)


@app.expose
def stubborn(how: str) -> None:
    """Does not end by anything but SIGKILL."""
    signal.pthread_sigmask(signal.SIG_SETMASK, range(1, signal.NSIG))
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "loop in C":
        with open("/dev/zero", "rb") as file:
            file.read(2**62)  # (MemoryError is no end: the loop below is)
    while True:
        pass


@app.expose
def spin_in_c() -> None:
    """One call into C that never gives the GIL back."""
    ctypes.PyDLL(None).pause()


@app.expose
def orphan(path: str, session: bool, times: int = 1) -> list[int]:
    """Leaves processes behind that hold every descriptor of the worker."""
    pids = []
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(300)"],
            close_fds=False,
            pass_fds=(),
            start_new_session=session,
        )
        pids.append(process.pid)
    with open(path, "w") as file:
        file.write(" ".join(map(str, pids)))
    return pids


@app.expose
def orphan_and_die(path: str, session: bool) -> None:
    for fd in (CALL, EVENT):
        os.set_inheritable(fd, True)
    orphan(path, session)
    _segfault()


@app.expose
def daemonize(path: str) -> None:
    """Forks twice into a session of its own, as daemons do."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(path + ".new", path)
            time.sleep(300)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.001)


@app.expose
def kill_parent(number: int) -> None:
    os.kill(os.getppid(), number)
    time.sleep(60)


# ---- what a worker sees ----


@app.expose
def environment() -> dict[str, str]:
    return dict(os.environ)


@app.expose
def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


@app.expose
def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


@app.expose
def execs(code: str) -> str:
    """What a fresh program that the worker starts prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout
