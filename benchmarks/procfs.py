"""What /proc says of a tree of processes: who belongs to it, its memory, CPU time and wake-ups."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes of one process. PSS counts a page that n processes share as 1/n of a page."""

    rss: int
    pss: int


@dataclass(frozen=True)
class Stat:
    parent: int
    cpu_ticks: int


def _stat(pid: int) -> Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended between the listing and now
    # The command's name may hold blanks and brackets: fields start after the last ')'.
    fields = text.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), cpu_ticks=int(fields[11]) + int(fields[12]))


def _all_stats() -> dict[int, Stat]:
    stats = {}
    for name in os.listdir(PROC):
        if name.isdigit():
            stat = _stat(int(name))
            if stat is not None:
                stats[int(name)] = stat
    return stats


def _descendants(stats: dict[int, Stat], root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        waiting.extend(new := children.get(waiting.pop(), []))
        found.extend(new)
    return found


def descendants(root: int) -> list[int]:
    """Every process below `root`, without it."""
    return _descendants(_all_stats(), root)


def helpers(root: int) -> list[int]:
    """Direct children that have children of their own: keepers, fork servers; no workers."""
    stats = _all_stats()
    parents = {stat.parent for stat in stats.values()}
    return [pid for pid, stat in stats.items() if stat.parent == root and pid in parents]


def settle(processes: int, quiet: float, limit: float) -> bool:
    """Waits until this process has `processes` descendants and they have used no CPU for `quiet`
    seconds: workers that start use it. False when that has not come true within `limit` seconds
    (some pools poll for ever).
    """
    end = time.monotonic() + limit
    before: dict[int, int] = {}
    since = time.monotonic()
    while (now := time.monotonic()) < end:
        stats = _all_stats()
        ticks = {pid: stats[pid].cpu_ticks for pid in _descendants(stats, os.getpid())}
        if ticks != before or len(ticks) < processes:
            before, since = ticks, now
        elif now - since >= quiet:
            return True
        time.sleep(quiet / 5)
    return False


def memory(pid: int) -> Memory:
    """Of one process. Raises OSError when it is gone or may not be read."""
    values = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    return Memory(rss=values["Rss"], pss=values["Pss"])


def wakeups(pid: int) -> int:
    """Times that any living thread of `pid` went to sleep so far: each wake-up ends in one."""
    return sum(_switches(path) for path in _threads(pid))


def _threads(pid: int) -> Iterator[Path]:
    try:
        names = os.listdir(PROC / str(pid) / "task")
    except (FileNotFoundError, ProcessLookupError):
        return
    for name in names:
        yield PROC / str(pid) / "task" / name / "status"


def _switches(path: Path) -> int:
    try:
        text = path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0])
