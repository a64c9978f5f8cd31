"""What the cells of `supervision.py` share: how they report, and what a process holds."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import procfs

Cell = Callable[[Path, float, "Report"], None]
MIB = 1 << 20


class Report:
    """Prints one line of a table for each figure."""

    def __init__(self, title: str) -> None:
        self._title = title
        self.wrong = 0

    def line(self, figure: str, reached: str, wanted: str = "") -> None:
        print(f"| {self._title} | {figure} | {reached} | {wanted} |", flush=True)

    def must(self, figure: str, reached: int, wanted: int) -> None:
        """A number that is right or wrong, not good or bad."""
        self.wrong += reached != wanted
        self.line(figure, f"{reached:,}" + ("" if reached == wanted else " WRONG"), f"{wanted:,}")


def count(number: int, scale: float) -> int:
    """A part of a number, at least 1."""
    return max(1, round(number * scale))


def holdings() -> dict[str, int]:
    """Descriptors, processes (zombies too), threads of this process; memfds among its own."""
    files = []
    for name in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # the one that listed the folder
    return {
        "descriptors": len(files),
        "memfds": sum(name.startswith("/memfd:") for name in files),
        "processes": len(procfs.descendants(os.getpid())),
        "threads": len(os.listdir("/proc/self/task")),
        "temporary files": sum(
            "pyproc" in name
            for folder in ("/dev/shm", tempfile.gettempdir())
            for name in os.listdir(folder)
        ),
    }


def left(before: dict[str, int], seconds: float = 10.0) -> dict[str, int]:
    """What there is more of than before; waits for what ends by itself."""
    limit = time.monotonic() + seconds
    while True:
        gc.collect()
        now = holdings()
        more = {name: max(0, now[name] - before[name]) for name in before}
        if not any(more.values()) or time.monotonic() > limit:
            return more
        time.sleep(0.02)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
