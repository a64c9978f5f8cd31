"""Functions that take more processes, threads and processors than they may."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import threading
import time

from pyproc import App

app = App()
_gate = threading.Event()


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def start_processes(count: int, seconds: float) -> int:
    """So many at a time, that live so long."""
    code = f"import time; time.sleep({seconds})"
    command = [sys.executable, "-I", "-S", "-c", code]
    running = [subprocess.Popen(command) for _ in range(count)]
    return sum(process.wait() == 0 for process in running)


@app.expose
def start_orphans(count: int, seconds: float) -> None:
    """Children of a child that is gone."""
    if os.fork() == 0:
        for _ in range(count):
            if os.fork() == 0:
                time.sleep(seconds)
                os._exit(0)
        os._exit(0)
    os.wait()
    time.sleep(seconds)


@app.expose
def start_one(how: str) -> str:
    """One process, in one of the ways there are."""
    if how == "subprocess":
        return subprocess.run(["true"], check=True).args[0]  # type: ignore[no-any-return]
    if how == "posix_spawn":
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    elif how == "system":
        return str(os.system("true"))
    elif how == "fork":
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    elif how == "multiprocessing":
        import multiprocessing

        process = multiprocessing.get_context("spawn").Process(target=int)
        process.start()
        process.join()
    else:  # a number with its first argument: clone3, clone with SIGCHLD
        libc = ctypes.CDLL(None, use_errno=True)
        number = {"clone": 56, "fork call": 57, "vfork call": 58}[how]
        pid = libc.syscall(number, 17 if how == "clone" else 0, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.waitpid(pid, 0)
    return "started"


@app.expose
def fork_without_end() -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.fork()


@app.expose
def start_threads(count: int, seconds: float) -> int:
    """So many at a time, that live so long."""
    threads = [threading.Thread(target=time.sleep, args=(seconds,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count


@app.expose
def keep_threads(count: int) -> None:
    """They outlive the call."""
    for _ in range(count):
        threading.Thread(target=_gate.wait, daemon=True).start()


@app.expose
def processors() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@app.expose
def thread_counts() -> list[str]:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return [os.environ.get(name, "") for name in names]


@app.expose
def write_file(path: str, size: int) -> int:
    with open(path, "wb", buffering=0) as file:
        done = 0
        while done < size:
            done += file.write(b"x" * min(65536, size - done))
        return done


@app.expose
def open_files() -> int:
    """How many descriptors there are when the kernel refuses one more."""
    kept = []
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return max(kept) + 1
    finally:
        for fd in kept:
            os.close(fd)


@app.expose
def soft_and_hard(name: str) -> tuple[int, int]:
    return resource.getrlimit(getattr(resource, name))


@app.expose
def use_stack(levels: int) -> int:
    """Frames of C, as comparing nested lists makes them."""
    sys.setrecursionlimit(10**6)
    left: list[object] = []
    right: list[object] = []
    for _ in range(levels):
        left, right = [left], [right]
    return int(left == right)
