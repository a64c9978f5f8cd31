"""What happened in a storm: counters, and what should not have been. Any thread."""

from __future__ import annotations

import threading
from collections import Counter

#: How many wrong ends are kept in full.
KEPT = 40


class Log:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counters: Counter[str] = Counter()
        self.wrong: list[str] = []

    def count(self, name: str, times: int = 1) -> None:
        with self._lock:
            self.counters[name] += times

    def blame(self, words: str) -> None:
        """Something is wrong: the run has failed."""
        with self._lock:
            self.counters["wrong"] += 1
            if len(self.wrong) < KEPT:
                self.wrong.append(words[:2000])
