"""What a process holds before and after a test: descriptors, processes, threads, memory.

What a fixture of a wider scope took meanwhile is allowed, since it lives on. What is on its way
out gets a moment to go.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import time
from collections import Counter
from collections.abc import Iterator

KINDS = ("descriptors", "processes", "threads")
#: Seconds that leftovers may take to end by themselves.
SETTLE = 2.0
#: The same for orphans: a pool's keeper, which adopts them, ends what nobody announced to it.
SETTLE_ORPHANS = 0.2

_Holdings = dict[str, Counter[str]]


class Watch:
    """From its making on. rss_growth: bytes of private memory that one test may keep."""

    def __init__(self, rss_growth: int) -> None:
        self._growth = rss_growth
        gc.collect()
        self._before = _holdings()
        self._rss = _rss()

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """What is taken inside may stay."""
        before, rss = _holdings(), _rss()
        try:
            yield
        finally:
            after = _holdings()
            for kind in KINDS:
                self._before[kind] += after[kind] - before[kind]
            self._rss += max(0, _rss() - rss)

    def left(self) -> list[str]:
        """A line for each kind of which there is more than before."""
        began = time.monotonic()
        pause = 0.001
        while True:
            found = self._beyond()
            waited = time.monotonic() - began
            orphaned = waited > SETTLE_ORPHANS and any("left to the keeper" in x for x in found)
            if not found or orphaned or waited > SETTLE:
                return found
            gc.collect()
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def _beyond(self) -> list[str]:
        after = _holdings()
        lines = []
        for kind in KINDS:
            new = after[kind] - self._before[kind]
            if new:
                shown = ", ".join(sorted(new.elements())[:10])
                lines.append(f"{kind}: {new.total()} more than before: {shown}")
        grown = _rss() - self._rss
        if grown > self._growth:
            _trim()
            grown = _rss() - self._rss
        if grown > self._growth:
            lines.append(
                f"memory: {grown / 2**20:.0f} MiB more than before "
                f"(pyproc_leaks_rss allows {self._growth / 2**20:.0f} MiB)"
            )
        return lines


def _holdings() -> _Holdings:
    return {"descriptors": _descriptors(), "processes": _processes(), "threads": _threads()}


def _descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed the folder
            found[f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}"] += 1
    return found


def _threads() -> Counter[str]:
    names: Counter[str] = Counter()
    for task in os.listdir("/proc/self/task"):
        names[f"{task} ({_read(f'/proc/self/task/{task}/comm')})"] += 1
    return names


def _processes() -> Counter[str]:
    """Descendants, and what they left to the keeper: it adopts the orphans of a pool."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if fields:
                parents[int(name)] = int(fields[1])
    own, keeper = os.getpid(), os.getppid()
    ours, newest = {own, keeper}, {own, keeper}
    while newest:
        newest = {pid for pid, parent in parents.items() if parent in newest} - ours
        ours |= newest
    return Counter(_process(pid, parents[pid] == keeper) for pid in ours - {own, keeper})


def _process(pid: int, is_orphan: bool) -> str:
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ")[:80]
    return f"{pid} ({command}{', left to the keeper' if is_orphan else ''})"


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _rss() -> int:
    """Bytes that are this process's alone: files that are mapped do not count."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def _trim() -> None:
    """Gives the system what the C library keeps for later."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
