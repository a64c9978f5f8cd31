"""Every test ends with the descriptors, children and threads it began with.

Counted before and after each test, with a deadline in between for what ends on its own time.
Children are this process's own (a pool's keeper is one, zombies count) and this checkout's
keepers and workers that lost their parent: an orphan goes to one of our ancestors, so
processes of another test run on the same machine are never mistaken for ours.
A test that leaves something behind on purpose says so with `@pytest.mark.may_leak(reason)`.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Seconds that a test's leftovers may take to go away by themselves.
SETTLE = 15.0
PACKAGE = Path(__file__).resolve().parent.parent / "pyproc"


@dataclass(frozen=True)
class Holdings:
    """What this process holds at one moment: a number -> what it is, for the message."""

    descriptors: dict[int, str]
    children: dict[int, str]
    threads: dict[int, str]

    def beyond(self, before: Holdings) -> list[str]:
        """A line for each kind of which there is more than before."""
        lines = []
        for kind in ("descriptors", "children", "threads"):
            old, new = getattr(before, kind), getattr(self, kind)
            if len(new) > len(old):
                extra = {number: what for number, what in new.items() if old.get(number) != what}
                lines.append(f"{kind}: {len(old)} before, {len(new)} after; new: {extra}")
        return lines


def take_holdings() -> Holdings:
    """Counts now."""
    return Holdings(_descriptors(), _children(), _threads())


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the one that listed the folder
    # An open pool keeps some memory of large values to use it again, within Pool(buffer_stock=).
    # A worker of a template that was renewed keeps that one's listener.
    kept = ("pyproc-memory", "seccomp notify")
    return {n: what for n, what in found.items() if not any(word in what for word in kept)}


def _threads() -> dict[int, str]:
    return {int(tid): _read(f"/proc/self/task/{tid}/comm") for tid in os.listdir("/proc/self/task")}


def _children() -> dict[int, str]:
    parents = _parents()
    ours = os.getpid()
    ancestors = {ours}
    pid = ours
    while (pid := parents.get(pid, 0)) > 0:
        ancestors.add(pid)
    found = {}
    for pid, parent in parents.items():
        if parent not in ancestors or pid in ancestors:
            continue
        command = _read(f"/proc/{pid}/cmdline").replace("\0", " ")
        if parent == ours or str(PACKAGE) in command:
            found[pid] = command or _read(f"/proc/{pid}/comm")
    return found


def _parents() -> dict[int, int]:
    """Every process's parent; those that end meanwhile are left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # pid (comm) state ppid ...; comm may hold spaces and brackets.
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if fields:
                found[int(name)] = int(fields[1])
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


class _LibuvsOwn:
    """libuv makes one pipe at the first loop of a process and keeps it for ever: let it, once."""

    granted = False

    @classmethod
    def explains(cls, before: Holdings, after: Holdings) -> bool:
        """True the first time that exactly one pipe, both ends, is new after `_core` came."""
        new = after.descriptors.items() - before.descriptors.items()
        ends = [target for _, target in new]
        one_pipe = len(ends) == 2 and len(set(ends)) == 1 and ends[0].startswith("pipe:")
        same_otherwise = len(after.children) <= len(before.children) and len(after.threads) <= len(
            before.threads
        )
        if cls.granted or not (one_pipe and same_otherwise and "pyproc._core" in sys.modules):
            return False
        cls.granted = True
        return True


def settle(before: Holdings, seconds: float = SETTLE) -> list[str]:
    """Waits until nothing is held beyond `before`; answers what still is at the deadline."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        after = take_holdings()
        extra = after.beyond(before)
        if not extra or _LibuvsOwn.explains(before, after):
            return []
        if time.monotonic() > deadline:
            return extra
        gc.collect()
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which this process holds more than before."""
    before = take_holdings()
    yield
    if request.node.get_closest_marker("may_leak") is None and (extra := settle(before)):
        pytest.fail("the test left something behind:\n  " + "\n  ".join(extra), pytrace=False)
