"""What workers printed, kept for Pool.captured()."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Literal, NamedTuple, cast

#: Characters that are kept at most; beyond it the oldest go.
KEPT = 4 * 2**20
_NAMES = {1: "stdout", 2: "stderr"}


class Printed(NamedTuple):
    """What a worker wrote at a time: whole lines, but for a line that was never ended.

    worker_id: which one. stream: "stdout" or "stderr". text: as it was written.
    """

    worker_id: int
    stream: Literal["stdout", "stderr"]
    text: str


class Captured:
    """The newest of what was printed; bounded. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Printed] = deque()
        self._size = 0
        self.dropped = 0  # characters

    def add(self, item: tuple[Any, ...]) -> None:
        """An item of the core's queue."""
        _, worker, stream, text = item[:4]
        with self._lock:
            self._kept.append(Printed(worker, cast(Any, _NAMES[stream]), text))
            self._size += len(text)
            while self._size > KEPT:
                size = len(self._kept.popleft().text)
                self._size -= size
                self.dropped += size

    def take(self) -> list[Printed]:
        """All of it, oldest first; forgets it."""
        with self._lock:
            kept, self._kept, self._size = list(self._kept), deque(), 0
        return kept
