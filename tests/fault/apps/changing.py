"""Functions whose worker becomes something else while it has their call."""

from __future__ import annotations

import os
import sys
import threading
import time

import pyproc

app = pyproc.App()


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def become(seconds: int) -> None:
    """The worker is another program from now on, with none of its descriptors."""
    os.execv("/bin/sleep", ["sleep", str(seconds)])


@app.expose
def answer_by_a_child() -> int:
    """Both return; only the worker's own answer may count."""
    child = os.fork()
    if child == 0:
        return -1
    os.waitpid(child, 0)
    return os.getpid()


@app.expose
def leave_it_to_a_child() -> int:
    """The child returns, the worker is gone."""
    if os.fork() == 0:
        time.sleep(0.05)
        return -1
    os._exit(3)


@app.expose
def exit_in_a_thread() -> int:
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()
    return os.getpid()
