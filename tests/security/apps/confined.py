"""Functions that try things which a sandbox may refuse; errors come back as they are raised."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from pyproc import App

app = App()


@app.expose
def read(path: str) -> str:
    return Path(path).read_text()


@app.expose
def write(path: str, text: str) -> int:
    return Path(path).write_text(text)


@app.expose
def run(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=True
    ).stdout.strip()


@app.expose
def connects(kind: int) -> bool:
    with socket.socket(kind):
        return True


@app.expose
def signals(pid: int) -> bool:
    os.kill(pid, 0)
    return True


@app.expose
def parent() -> int:
    return os.getppid()


@app.expose
def identity() -> tuple[int, int, list[int]]:
    return os.getuid(), os.getgid(), os.getgroups()


@app.expose
def status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(field))


@app.expose
def forks() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.expose
def scratch() -> str:
    with tempfile.NamedTemporaryFile("w+", delete=False) as file:
        file.write("kept")
    return file.name


@app.expose
def copies_a_tree() -> list[str]:
    top = Path(tempfile.mkdtemp())
    (top / "from").mkdir()
    (top / "from" / "file").write_text("text")
    shutil.copytree(top / "from", top / "to")
    return os.listdir(top / "to")


@app.expose
def times_out() -> str:
    try:
        subprocess.run(["/bin/sleep", "60"], timeout=0.2, check=False)
    except subprocess.TimeoutExpired:
        return "stopped"
    return "ran"


@app.expose
def traces() -> int:
    return int(ctypes.CDLL(None).ptrace(0, 0, 0, 0))


@app.expose
def system_call(number: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 else ctypes.get_errno()


@app.expose
def takes_sigsys() -> bool:
    signal.signal(signal.SIGSYS, signal.SIG_IGN)
    return True


@app.expose
def threads(count: int) -> int:
    found: list[int] = []
    several = [threading.Thread(target=found.append, args=(n,)) for n in range(count)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    return len(found)


@app.expose
def imports(name: str) -> str:
    return __import__(name).__name__


@app.expose
def waits() -> None:
    threading.Event().wait()
