"""Takes memory and processor time in many ways."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import pyproc

app = pyproc.App()
MIB = 1 << 20


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def grow(kind: str, mib: int) -> int:
    """Takes so many MiB and gives them back."""
    WAYS[kind](mib)
    return mib


def pieces(mib: int) -> None:
    kept = [b"x" * MIB for _ in range(mib)]
    del kept


def one_piece(mib: int) -> None:
    kept = b"x" * (mib * MIB)
    del kept


def shared_mapping(mib: int) -> None:
    memory = mmap.mmap(-1, mib * MIB)
    for _ in range(mib):
        memory.write(b"y" * MIB)


def huge_pages(mib: int) -> None:
    memory = mmap.mmap(-1, mib * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    ctypes.memset((ctypes.c_char * (mib * MIB)).from_buffer(memory), 1, mib * MIB)


def page_tables(mib: int) -> None:
    """The kernel's own memory, of which a process's pages say nothing: a table for each 2 MiB."""
    span = 2 * MIB
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
    memory = mmap.mmap(-1, mib * 256 * span, flags, mmap.PROT_READ)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, len(memory), span):
        memory[at]


def memory_file(mib: int) -> None:
    """Written, never mapped."""
    file = os.memfd_create("hungry")
    for _ in range(mib):
        os.write(file, b"z" * MIB)
    os.close(file)


def two_threads(mib: int) -> None:
    threads = [threading.Thread(target=pieces, args=(mib // 2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def child(mib: int) -> None:
    code = f"import time; kept = b'x' * {mib * MIB}; time.sleep(2)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False)


def orphan(mib: int) -> None:
    """A child of a child that is gone."""
    if os.fork() == 0:
        if os.fork() == 0:
            one_piece(mib)
            time.sleep(5)
        os._exit(0)
    os.wait()
    time.sleep(3)


WAYS = {
    way.__name__: way
    for way in (
        pieces,
        one_piece,
        shared_mapping,
        huge_pages,
        page_tables,
        memory_file,
        two_threads,
        child,
        orphan,
    )
}


@app.expose
def map_at_once(mib: int) -> None:
    """An OSError when the kernel refuses it."""
    mmap.mmap(-1, mib * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()


@app.expose
def numpy_at_once(mib: int) -> None:
    """A kind of MemoryError when the kernel refuses it."""
    import numpy

    numpy.ones(mib * MIB, dtype="u1")


@app.expose
def use_pandas() -> int:
    import pandas

    return int(pandas.DataFrame({"a": range(1000)})["a"].sum())


@app.expose
def use_numpy() -> float:
    import numpy

    return float(numpy.ones((1000, 1000)).sum())


@app.expose
def spin(seconds: float) -> float:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    return seconds


@app.expose
def spin_in_a_child(seconds: float) -> float:
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False)
    return seconds


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def raise_memory_error() -> None:
    raise MemoryError("mine")


@app.expose
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
