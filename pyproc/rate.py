"""Token buckets: how many calls of a function, or for a key, are let through in a second.

Looked at before a call only where a pool has a rate; without one nothing is done. Any thread.
"""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pyproc.errors import RateLimited

#: Buckets that one limiter remembers; the ones used longest ago are full again, and forgotten.
BUCKETS_MAX = 10_000
BY = ("function", "key", "pool")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """calls: a second, on average. burst: how many may come at once (None: one second's worth, at
    least 1). by: what shares one bucket: each "function", each "key" of `pool.options(key=)`
    (calls without a key share one), or the whole "pool"."""

    calls: float
    burst: float | None = None
    by: Literal["function", "key", "pool"] = "function"

    def __post_init__(self) -> None:
        for name in ("calls", "burst"):
            value = getattr(self, name)
            if value is None and name == "burst":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"Rate.{name}={value!r}: a number is needed")
            if not 0 < value < float("inf"):
                raise ValueError(f"Rate.{name}={value!r}: more than 0 is needed")
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"Rate.burst={self.burst}: below 1 no call would ever be let through")
        if self.by not in BY:
            raise ValueError(f"Rate.by={self.by!r}: one of {', '.join(BY)} is needed")

    @property
    def room(self) -> float:
        """Tokens of a full bucket."""
        return max(1.0, self.calls) if self.burst is None else float(self.burst)


#: A Rate for all functions, a number of calls a second for each, or globs of names to one of them.
Rates = Rate | float | Mapping[str, Rate | float]


class Bucket:
    """Tokens that come back with time. Under its owner's lock."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens, self.at = tokens, at

    def take(self, calls: float, room: float, now: float) -> float:
        """0: one token was taken. Else the seconds until there is one."""
        self.tokens = min(room, self.tokens + max(0.0, now - self.at) * calls)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / calls


class Limiter:
    """The buckets of one pool. Any thread."""

    def __init__(self, rates: Rates) -> None:
        named: Mapping[str, Rate | float] = rates if isinstance(rates, Mapping) else {"*": rates}
        self._rules: list[tuple[str, Rate]] = []
        for glob, rate in named.items():
            if not isinstance(glob, str) or not glob:
                raise TypeError(f"rate: {glob!r} is no name or glob of functions")
            self._rules.append((glob, _rate(rate)))
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[int, str], Bucket] = OrderedDict()
        self.refused = 0

    def admit(self, function: str, key: str = "") -> None:
        """Raises RateLimited. The first rule whose glob fits counts."""
        fitting = (
            (at, rate)
            for at, (glob, rate) in enumerate(self._rules)
            if fnmatch.fnmatchcase(function, glob)
        )
        at, rate = next(fitting, (-1, None))
        if rate is None:
            return
        name = {"function": function, "key": key, "pool": ""}[rate.by]
        now = time.monotonic()
        with self._lock:
            bucket = self._buckets.get((at, name))
            if bucket is None:
                bucket = self._buckets[at, name] = Bucket(rate.room, now)
                if len(self._buckets) > BUCKETS_MAX:
                    self._buckets.popitem(last=False)
            else:
                self._buckets.move_to_end((at, name))
            wait = bucket.take(rate.calls, rate.room, now)
            if not wait:
                return
            self.refused += 1
        raise RateLimited(
            f"more than {rate.calls:g} calls a second of {function!r} (rate by {rate.by}); the "
            f"next is let through in {wait:.3f} s",
            function=function,
            retry_after=wait,
        )


def _rate(value: object) -> Rate:
    if isinstance(value, Rate):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"rate={value!r}: calls a second, or a pyproc.Rate, is needed")
    return Rate(calls=value)
