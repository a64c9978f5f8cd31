"""Functions that do not end by themselves, and ways to die with a stack."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import re
import signal
import sys
import threading
import time
from typing import Any

import pyproc

app = pyproc.App()


def wait_for_ever() -> None:
    while True:
        time.sleep(60)


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def nap(seconds: float, mark: str = "") -> float:
    """With a cleanup that leaves a mark."""
    try:
        time.sleep(seconds)
    finally:
        if mark:
            with open(mark, "a") as file:
                file.write("cleaned")
    return seconds


@app.expose
async def doze(seconds: float, mark: str = "") -> float:
    try:
        await asyncio.sleep(seconds)
    finally:
        if mark:
            with open(mark, "a") as file:
                file.write("cleaned")
    return seconds


@app.expose
def backtrack() -> bool:
    return re.match(r"(a+)+$", "a" * 60 + "b") is not None


@app.expose
def hold_the_gil() -> int:
    return sum(range(10**13))


@app.expose
def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_ever()


@app.expose
def hang_in_a_thread() -> None:
    thread = threading.Thread(target=wait_for_ever)
    thread.start()
    thread.join()


@app.expose
def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    wait_for_ever()


@app.expose
def stop_myself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@app.expose
def swallow() -> None:
    """Will not be asked."""
    while True:
        try:
            time.sleep(60)
        except Exception:
            continue


@app.expose
def catch(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except pyproc.TaskTimeout:
        return "in time"
    return "not asked"


@app.expose
def die(number: int) -> None:
    os.kill(os.getpid(), number)
    wait_for_ever()


@app.expose
def die_after_a_library_enabled_faulthandler() -> None:
    faulthandler.enable()
    ctypes.string_at(0)


@app.expose
def die_in_a_thread() -> None:
    def crash_here() -> None:
        ctypes.string_at(0)

    thread = threading.Thread(target=crash_here)
    thread.start()
    thread.join()


@app.expose
def overflow(in_thread: bool) -> None:
    if not in_thread:
        overflow_the_stack()
    thread = threading.Thread(target=overflow_the_stack)
    thread.start()
    thread.join()


def overflow_the_stack() -> None:
    """By C frames: Python's own are counted."""
    library = ctypes.CDLL(None)
    pair = (ctypes.c_int * 2)(1, 2)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def compare(_a: Any, _b: Any) -> int:
        library.qsort(pair, 2, 4, callback)
        return 0

    callback = kind(compare)
    sys.setrecursionlimit(10**9)
    compare(None, None)


@app.expose
def facts() -> dict[str, Any]:
    now = pyproc.current()
    return {
        "call_id": now.call_id,
        "function": now.function,
        "deadline": now.deadline,
        "remaining": now.remaining(),
        "cancelled": now.cancelled(),
    }


@app.expose
def poll_until_cancelled() -> str:
    signal.signal(61, signal.SIG_IGN)
    while not pyproc.current().cancelled():
        time.sleep(0.01)
    return "saw it"


@app.expose
def keep_the_gil_from(path: str) -> None:
    """Leaves a thread that takes the GIL for good when that file is there, and then removes it."""

    def hold() -> None:
        while not os.path.exists(path):
            time.sleep(0.005)
        os.unlink(path)
        ctypes.PyDLL(None).sleep(3600)

    threading.Thread(target=hold, daemon=True).start()
