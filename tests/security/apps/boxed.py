"""What code in a worker might try; each answers with what came of it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyproc

app = pyproc.App()
libc = ctypes.CDLL(None, use_errno=True)


def told(deed: Callable[[], object]) -> str:
    """ "done", or the error's name."""
    try:
        deed()
    except (OSError, ValueError, RuntimeError) as error:
        return type(error).__name__
    return "done"


def call(*arguments: object) -> str:
    """A system call by number."""
    r = libc.syscall(*arguments)
    return "done" if r >= 0 else os.strerror(ctypes.get_errno())


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def ids() -> list[int]:
    return [os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()]


@app.expose
def read(path: str) -> str:
    return told(lambda: Path(path).read_text())


@app.expose
def write(path: str) -> str:
    return told(lambda: Path(path).write_text("owned"))


@app.expose
def write_scratch() -> str:
    path = Path(os.environ["TMPDIR"], "mine")
    return told(lambda: path.write_text("x" + path.parent.name))


@app.expose
def connect(family: str, port: int) -> str:
    def deed() -> None:
        kind = socket.SOCK_RAW if family == "AF_NETLINK" else socket.SOCK_STREAM
        with socket.socket(getattr(socket, family), kind) as sock:
            if family == "AF_INET":
                sock.settimeout(5)
                sock.connect(("127.0.0.1", port))

    return told(deed)


@app.expose
def execute() -> str:
    return told(lambda: subprocess.run(["/bin/true"], check=True, timeout=20))


@app.expose
def fork() -> str:
    def deed() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return told(deed)


@app.expose
def thread() -> str:
    def deed() -> None:
        one = threading.Thread(target=lambda: None)
        one.start()
        one.join()

    return told(deed)


@app.expose
def strike(pid: int) -> str:
    return told(lambda: os.kill(pid, signal.SIGUSR1))


@app.expose
def peek(pid: int) -> str:
    return told(lambda: Path(f"/proc/{pid}/environ").read_bytes())


@app.expose
def trace(pid: int) -> str:
    return "done" if libc.ptrace(16, pid, 0, 0) == 0 else "refused"


@app.expose
def raise_limit() -> str:
    def deed() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return told(deed)


@app.expose
def root_again() -> str:
    return told(lambda: os.setresuid(0, 0, 0))


@app.expose
def kernel(name: str) -> str:
    numbers = {"io_uring_setup": 425, "bpf": 321, "userfaultfd": 323, "keyctl": 250,
               "unshare": 272, "mount": 165, "perf_event_open": 298, "add_key": 248}  # fmt: skip
    arguments = {"unshare": (0x10000000,), "keyctl": (0, -3, 0), "io_uring_setup": (1, 0)}
    return call(numbers[name], *arguments.get(name, (0, 0, 0, 0, 0)))


@app.expose
def late_import() -> str:
    import this  # noqa: F401

    return "done"


@app.expose
def segfault() -> None:
    ctypes.string_at(8)


@app.expose
def spin() -> None:
    while True:
        pass


@app.expose
def say() -> None:
    print("words")
    print("more", file=sys.stderr)
