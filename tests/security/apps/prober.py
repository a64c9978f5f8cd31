"""What a worker can see and do, told to the host."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

from pyproc import App

app = App()


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def environment() -> dict[str, str]:
    return dict(os.environ)


@app.expose
def birth_environment() -> str:
    with open("/proc/self/environ", errors="replace") as file:
        return file.read()


@app.expose
def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


@app.expose
def descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


@app.expose
def inheritable_descriptors() -> list[int]:
    """What a program that the worker starts would get beside 0 to 2."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


@app.expose
def limit(name: str) -> tuple[int, int]:
    return resource.getrlimit(getattr(resource, name))


@app.expose
def raise_limit(name: str) -> str:
    which = getattr(resource, name)
    _, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
    except (ValueError, PermissionError) as error:
        return type(error).__name__
    return "raised"


@app.expose
def nice() -> int:
    return os.nice(0)


@app.expose
def signals() -> tuple[list[int], list[int]]:
    """Blocked and ignored signals, as a program that the worker starts sees them."""
    with open("/proc/self/status") as file:
        lines = [line for line in file if line.startswith(("SigBlk", "SigIgn"))]
    masks = {line[:6]: int(line[8:], 16) for line in lines}
    blocked = [n for n in range(1, 65) if masks["SigBlk"] >> (n - 1) & 1]
    ignored = [n for n in range(1, 65) if masks["SigIgn"] >> (n - 1) & 1]
    return blocked, ignored


@app.expose
def execs(code: str) -> str:
    """What a fresh program of the worker's prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout


@app.expose
def allocate(size: int) -> int:
    return len(bytearray(size))


@app.expose
def write_file(path: str, size: int) -> int:
    with open(path, "wb") as file:
        return file.write(bytes(size))


@app.expose
def open_many(times: int) -> int:
    kept = []
    for _ in range(times):
        kept.append(os.open("/dev/null", os.O_RDONLY))
    for fd in kept:
        os.close(fd)
    return len(kept)


@app.expose
def abort() -> None:
    os.abort()


@app.expose
def hold(how: str, flag: str) -> None:
    """Ends by nothing but SIGKILL."""
    open(flag, "w").close()
    if how == "a loop in Python":
        while True:
            pass
    if how == "a loop that catches everything":
        while True:
            try:
                while True:
                    time.sleep(0.001)
            except BaseException:
                continue
    if how == "a call in C that keeps the GIL":
        ctypes.PyDLL(None).pause()
    if how == "a loop in C that keeps the GIL":
        pow(3, 10**9, 10**4000 + 7)
        sum(range(10**15))
    if how == "all signals blocked":
        signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))
        while True:
            pass
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "asleep":
        time.sleep(1000)
    if how == "waits for a child":
        os.waitpid(subprocess.Popen(["sleep", "1000"]).pid, 0)


@app.expose
def leave_children(how: str, flag: str) -> None:
    """Starts what would outlive a careless pool, and waits."""
    for name in how.split(", "):
        if os.fork() == 0:
            if name == "session":
                os.setsid()
            elif name == "group":
                os.setpgid(0, 0)
            elif name == "orphan" and os.fork() != 0:
                os._exit(0)
            elif name == "stubborn":
                signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))
            elif name == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif name == "no death signal":
                ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
            while True:
                time.sleep(1000)
    open(flag, "w").close()
    time.sleep(1000)


class _Loud:
    """Pickled, it would write a file where it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@app.expose
def pickled(path: str, how: str) -> object:
    import pickle

    data = pickle.dumps(_Loud(path))
    if how == "bytes":
        return data
    if how == "text":
        return data.decode("latin-1")
    if how == "object":
        return _Loud(path)
    if how == "raise object":
        raise ValueError(_Loud(path))
    if how == "raise bytes":
        raise ValueError(data)
    if how == "raise own class":

        class Trap(Exception):
            def __reduce__(self) -> tuple[object, tuple[str, str]]:
                return open, (path, "w")

        raise Trap(data)
    if how == "numpy object array":
        import numpy

        return numpy.array([_Loud(path)], dtype=object)
    raise AssertionError(how)


@app.expose
def pickled_item(item: tuple[str, str]) -> object:
    return pickled(*item)


@app.expose
def named_like(module: str, name: str) -> None:
    """Raises an exception whose class says that it is another one."""
    raise type(name, (Exception,), {"__module__": module})("words")


@app.expose
def log_about(path: str) -> None:
    import logging

    logging.getLogger("app").error("%s", _Loud(path))
