"""Functions that make system calls which no sandbox allows, from everywhere in a worker's tree."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from pyproc import App

app = App()
_libc = ctypes.CDLL(None, use_errno=True)
#: Some that are never allowed, x86-64's and arm64's numbers.
NUMBERS = {
    "ptrace": (101, 117),
    "mount": (165, 40),
    "bpf": (321, 280),
    "setns": (308, 268),
    "kexec_load": (246, 104),
    "process_vm_readv": (310, 270),
}
_ARM = os.uname().machine == "aarch64"


def number_of(name: str) -> int:
    return NUMBERS[name][_ARM]


@app.expose
def never(name: str, *args: int) -> int:
    return int(_libc.syscall(number_of(name), *(ctypes.c_long(value) for value in args)))


@app.expose
def in_thread(name: str) -> None:
    thread = threading.Thread(target=never, args=(name,))
    thread.start()
    thread.join()


@app.expose
def in_many_threads(count: int) -> None:
    threads = [threading.Thread(target=never, args=("ptrace",)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


_CHILD = "import ctypes, time; ctypes.CDLL(None).syscall({}, 0, 0, 0, 0); time.sleep(60)"


@app.expose
def in_program(name: str) -> int:
    code = _CHILD.format(number_of(name))
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


@app.expose
def in_fork_of_fork(name: str) -> None:
    """Its parent ends, so that it belongs to the worker by its session only."""
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.2)
            never(name)
        os._exit(0)
    time.sleep(60)


@app.expose
def in_daemon(name: str, path: str) -> None:
    """Of a session of its own, by a parent that has ended: it belongs to nobody."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(path).write_text(str(os.getpid()))
            never(name)
            Path(path).write_text("went on")
        os._exit(0)
    os.wait()


@app.expose
def scratch() -> str:
    return os.environ["TMPDIR"]


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def read(path: str) -> str:
    return Path(path).read_text()


@app.expose
def tries(path: str) -> str:
    """Takes the refusal for an answer."""
    try:
        return Path(path).read_text()
    except PermissionError:
        return "refused"


@app.expose
def withdraws() -> None:
    """One thread makes the call, another takes it back by signals, as fast as it can."""
    import signal

    signal.signal(signal.SIGUSR1, lambda *_: None)
    main = threading.main_thread().ident or 0

    def shoot() -> None:
        while True:
            signal.pthread_kill(main, signal.SIGUSR1)

    threading.Thread(target=shoot, daemon=True).start()
    while True:
        never("ptrace")
