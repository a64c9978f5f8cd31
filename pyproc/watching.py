"""What a pool tells about itself and its troubles; a part of `Pool`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyproc.events import Event, Events, Health, health

if TYPE_CHECKING:
    from pyproc import _core
    from pyproc._confine import Confinement
    from pyproc._report import Line
    from pyproc.delivery import Delivery
    from pyproc.operations import Operations
    from pyproc.output import Captured, Printed
    from pyproc.resilience import Guard

#: How long captured() waits for output that is under way.
CAPTURE_SECONDS = 1.0


@dataclass(frozen=True)
class Durations:
    """How often something took how long, since the pool was opened.

    counts: one number a bucket, not added up: counts[i] of at most bounds[i] seconds (and more
    than the bound before), the last of more than the last bound. sum: seconds in all.
    """

    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


@dataclass(frozen=True)
class Latency:
    """How long calls waited for a worker, and ran from then until their end.

    bounds: the buckets' upper ends in seconds, the same for both. A call that ended in its queue,
    before a worker had it, is in neither. A chunk of a map and a stream count as one call each.
    """

    bounds: tuple[float, ...]
    wait: Durations
    run: Durations


class Watching:
    """Events, health, quarantine and breakers. Any thread."""

    _core: _core.Pool
    _events: Events
    _guard: Guard
    _captured: Captured | None
    _delivery: Delivery
    _closed: bool
    _confined: Confinement
    _operations: Operations

    def stats(self) -> dict[str, int]:
        """Counters since the pool was opened, and how many workers and calls there are now."""
        stats = self._core.stats()
        if self._captured is not None:
            stats["output_dropped_bytes"] += self._captured.dropped
        stats["calls_retried"] = self._guard.retries
        stats["requests_quarantined"] = len(self._guard.quarantined())
        stats["breakers_open"] = len(self._open())
        stats["functions_isolated"] = len(self._guard.isolated())
        stats |= self._operations.stats()
        return stats

    def latency(self) -> Latency:
        """How long calls have waited and run since the pool was opened. Counted in the host, so no
        worker's end loses any; reading stops nobody. A sum may be ahead of its counts by a call
        that ends just now."""
        bounds, wait, run = self._core.latency()
        return Latency(bounds, Durations(*wait), Durations(*run))

    def captured(self) -> list[Printed]:
        """What workers printed since it was last asked for, with Pool(output="capture").

        All that calls printed that have ended is there. The newest 4 Mi characters are kept;
        stats()["output_dropped_bytes"] counts what was lost. Raises ValueError with any other
        output=.
        """
        if self._captured is None:
            raise ValueError('captured() needs Pool(output="capture")')
        self._core.hear(CAPTURE_SECONDS)
        self._delivery.catch_up(CAPTURE_SECONDS)
        return self._captured.take()

    def isolation_report(self, probe: bool = False) -> list[Line]:
        """What keeps the workers in, each line with its source: "kernel", "keeper" or "worker".

        probe: kernel lines of every living worker, not of the oldest only; and lines "probe: ...",
        for which a worker of its own, without the application, tries what must not work and says
        what the kernel answered. That takes a start, and raises what a start may.
        """
        pids = [worker[1] for worker in self._core.workers() if worker[1]]
        found = self._confined.report(pids if probe else pids[:1])
        if probe:
            from pyproc import _probe

            found += _probe.lines(self._confined.wanted, self._confined.python)
        return found

    def events(self) -> list[Event]:
        """The newest 1000 events of the pool, oldest first; Pool(on_event=) is told each one."""
        return self._events.list()

    def health(self) -> Health:
        """Whether the pool serves, and what troubles it. False as a truth value: it does not."""
        quarantined = len(self._guard.quarantined())
        return health(self._core.stats(), self._closed, self._events, self._open(), quarantined)

    def quarantine(self) -> list[tuple[str, int, str]]:
        """(function, deaths, last cause) of each request that is not run any more."""
        return self._guard.quarantined()

    def isolate(self, function: str) -> None:
        """Refuses calls of the function (FunctionIsolated) until `release`; running ones go on."""
        if not isinstance(function, str) or not function:
            raise TypeError(f"isolate({function!r}): the name of a function is needed")
        self._guard.isolate(function)

    def isolated(self) -> list[str]:
        """The functions whose calls are refused."""
        return self._guard.isolated()

    def release(self, function: str | None = None) -> int:
        """Forgets deaths, closes circuits and lifts isolation, of one function or of all; answers
        how many requests are forgotten."""
        return self._guard.release(function)

    def breakers(self) -> dict[str, str]:
        """The circuit of each function that has failed lately: closed, open or half-open."""
        return self._guard.breakers()

    def _open(self) -> list[str]:
        return [name for name, state in self._guard.breakers().items() if state == "open"]
