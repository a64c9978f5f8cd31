"""Events of a pool: what happened to its workers, kept for a while and told to who asks.

They arrive on the delivery thread in the order in which they happened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

KEPT = 1000


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    kind: "start", "ready", "death", "recycle", "start_failed", "template_start", "template_end",
    "breaker", "quarantine", "retry", "violation", "isolate", "dump" or "bundle". time: seconds
    since the epoch. worker_id, pid: whose, 0 for
    none. detail: one line; it may quote a worker.

    Of a "violation" (docs/sandbox.md) there is more. grade: "refused", a call ended with what the
    kernel refused it, by the worker's own word; "tripwire", the host heard of a system call that is
    never allowed and ended the worker; "signal", the kernel ended it. call_id, function: whose it
    was, 0 and "" when that is not known. syscall, number, args: which one; numbers that may be
    addresses are only called "address". before: so many more came too fast to be told.
    """

    kind: str
    time: float
    worker_id: int
    pid: int
    detail: str
    grade: str = ""
    call_id: int = 0
    function: str = ""
    syscall: str | None = None
    number: int | None = None
    args: tuple[int | str, ...] = ()
    before: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For a structured log."""
        return asdict(self)


class Events:
    """The newest events of one pool. Any thread."""

    def __init__(self, on_event: Callable[[Event], object] | None) -> None:
        if on_event is not None and not callable(on_event):
            raise TypeError(f"on_event={on_event!r}: a function of one Event is needed")
        self._on_event = on_event
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        #: Told first of each event; they raise nothing.
        self.listeners: list[Callable[[Event], None]] = []
        self.last_start_error: str | None = None

    def take(self, item: tuple[Any, ...]) -> None:
        """The delivery thread's: one event of the core."""
        _, kind, worker_id, pid, created, detail, violation = item
        if kind == "ready":
            self.last_start_error = None
        elif kind == "start_failed":
            self.last_start_error = detail
        facts = {} if violation is None else _violation(*violation)
        self._keep(Event(kind, created, worker_id, pid, detail, **facts))

    def add(self, kind: str, detail: str, worker_id: int = 0, pid: int = 0) -> None:
        """One of the host's own."""
        self._keep(Event(kind, time.time(), worker_id, pid, detail))

    def _keep(self, event: Event) -> None:
        with self._lock:
            self._kept.append(event)
        for listener in self.listeners:
            listener(event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logging.getLogger("pyproc").exception("on_event failed for %r", event.kind)

    def list(self) -> list[Event]:
        """Oldest first."""
        with self._lock:
            return list(self._kept)


_GRADES = ("", "refused", "tripwire", "signal")


def _violation(
    grade: int, call: int, function: str, number: int, args: tuple[int, ...], before: int
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "grade": _GRADES[grade], "call_id": call, "function": function, "before": before,
    }  # fmt: skip
    if number >= 0:
        from pyproc import _core

        found["number"] = number
        found["syscall"] = _core.call_name(number)
        found["args"] = tuple(_shown(value) for value in args)
    return found


def _shown(value: int) -> int | str:
    """An argument that tells nothing of where a worker's memory lies."""
    if value < 2**32:
        return value
    return value - 2**64 if value >= 2**64 - 2**31 else "address"


@dataclass(frozen=True)
class Health:
    """How a pool is. status: "ok"; "degraded": it serves, but breakers are open, requests are in
    quarantine, or the last start failed; "failed": it is closed, or has no worker and could not
    start one. ready: workers that can take calls or have one. start_error: the last failed start,
    None once a worker became ready. open_breakers: functions. quarantined: requests."""

    status: str
    ready: int
    starting: int
    start_error: str | None
    open_breakers: tuple[str, ...]
    quarantined: int

    def __bool__(self) -> bool:
        return self.status != "failed"


def health(
    stats: dict[str, int], closed: bool, events: Events, breakers: list[str], quarantined: int
) -> Health:
    """What the numbers say."""
    ready = stats["workers_idle"] + stats["workers_busy"]
    error = events.last_start_error
    status = "ok"
    if closed or (ready == 0 and error is not None):
        status = "failed"
    elif error is not None or breakers or quarantined:
        status = "degraded"
    return Health(status, ready, stats["workers_starting"], error, tuple(breakers), quarantined)
