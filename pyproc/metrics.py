"""Prometheus: what pools count, for an application's own registry.

    registry.register(Collector(pool))

Everything is read when it is asked for: the counters from the core, which keeps them in the host,
so that a worker's end loses none; memory and CPU time of workers from /proc. A pool that nobody
asks pays nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyproc.errors import PoolClosed
from pyproc.pool import Pool

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector as _Base

    from pyproc.server import Server
    from pyproc.watching import Durations
else:
    _Base = object

#: Key of stats() -> a counter's name and what it counts.
_COUNTERS = {
    "calls_admitted": ("calls_admitted", "Calls that were let in"),
    "calls_rejected": ("calls_rejected", "Calls that were refused, as by a full queue"),
    "calls_requeued": ("calls_requeued", "Calls that went on to another worker"),
    "calls_retried": ("calls_retried", "Calls that were made again because of retry="),
    "calls_rate_limited": ("calls_rate_limited", "Calls beyond rate="),
    "workers_started": ("workers_started", "Workers that were started"),
    "workers_died": ("workers_died", "Workers that have ended, whatever the reason"),
    "workers_recycled": ("workers_recycled", "Workers that were replaced while the pool goes on"),
    "workers_retired_idle": ("workers_retired", "Workers that left because they were idle"),
    "workers_pinged": ("workers_pinged", "Idle workers that were asked whether they live"),
    "templates_started": ("templates_started", "Processes that workers are forked from"),
    "start_failures": ("worker_start_failures", "Workers that did not become ready"),
    "protocol_errors": ("protocol_errors", "Workers that broke the protocol"),
    "keeper_restarts": ("keeper_restarts", "Times that the keeper of the workers was replaced"),
    "output_dropped_bytes": ("output_dropped_bytes", "Output of workers that was thrown away"),
    "events_dropped": ("events_dropped", "Events that nobody took in time"),
    "audit_written": ("audit_written", "Lines of the audit log"),
    "audit_dropped": ("audit_dropped", "Audit events that could not be written"),
}
_GAUGES = {
    "calls_waiting": ("calls_waiting", "Calls in the queue now"),
    "calls_running": ("calls_running", "Calls that a worker has now"),
    "queue_bytes": ("queue_bytes", "Bytes of the calls in the queue now"),
    "generation": ("generation", "Of the application's code, counted up by reload"),
    "requests_quarantined": ("requests_quarantined", "Requests that are refused: they end workers"),
    "breakers_open": ("breakers_open", "Functions whose circuit is open"),
    "functions_isolated": ("functions_isolated", "Functions whose calls are refused by isolate"),
    "audit_lag": ("audit_lag_seconds", "Whole seconds that the oldest audit line waits for disk"),
    "audit_failing": ("audit_failing", "1 while the audit log cannot be written"),
}
#: Key of Server.stats() -> kind, name and text.
_SERVER = {
    "clients": ("Gauge", "server_clients", "Clients that are connected"),
    "clients_ever": ("Counter", "server_connections", "Connections that were accepted"),
    "clients_refused": ("Counter", "server_refused", "Connections refused: too many, or unwanted"),
    "clients_dropped": (
        "Counter",
        "server_dropped",
        "Clients that were dropped, as for hostile frames",
    ),
    "clients_lost": ("Counter", "server_lost", "Clients that went away"),
    "authenticated": ("Counter", "server_authenticated", "Clients that showed their key"),
    "authentication_failed": (
        "Counter",
        "server_authentication_failed",
        "Clients whose key was refused",
    ),
    "denied": ("Counter", "server_denied", "Clients and calls that the policy forbids"),
    "rate_limited": ("Counter", "server_rate_limited", "Calls beyond a role's rate"),
    "invalid": ("Counter", "server_invalid", "Requests that were not valid"),
    "accept_errors": ("Counter", "server_accept_errors", "Connections that could not be accepted"),
    "held_bytes": ("Gauge", "server_held_bytes", "Bytes held for clients"),
}
_POOL = ("pool",)
_RESULTS = ("ok", "failed", "crashed", "timed_out", "cancelled")
_STATES = ("launching", "importing", "ready", "busy", "draining")
_PREFIX = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Collector(_Base):
    """Metrics of one pool or several, for `prometheus_client`'s `registry.register`.

    pools: a Pool, or names to Pools, which become the label `pool` (a lone one is "default"). One
    collector for all pools of a registry: two would give the same metrics twice, which `register`
    refuses. server: one that offers the pools, whose clients are counted then. prefix: what every
    metric's name begins with, before an underscore.

    CPU time of a worker counts from the scrape that sees it first to the last that does: what it
    used after that is not known. Raises ImportError without prometheus_client. Any thread; it keeps
    the pools alive, and a closed one goes on telling its counters, with `up` 0.
    """

    def __init__(
        self,
        pools: Pool | Mapping[str, Pool],
        *,
        server: Server | None = None,
        prefix: str = "pyproc",
    ) -> None:
        try:
            import prometheus_client.core as families
        except ImportError as error:
            raise ImportError(
                "pyproc.metrics.Collector needs prometheus_client: "
                "pip install 'pyproc-native[metrics]'",
                name="prometheus_client",
            ) from error
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise ValueError(f"prefix={prefix!r}: letters, digits, '_' and ':' are needed")
        self._families: Any = families
        self._prefix = prefix
        self._pools = _named(pools)
        self._server = server
        self._lock = threading.Lock()
        self._cpu = {name: _CPU() for name in self._pools}

    def describe(self) -> Iterable[Metric]:
        """The metrics' names, without asking a pool."""
        return self._empty().values()

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        found = self._empty()
        with self._lock:
            for name, pool in self._pools.items():
                self._add(found, name, pool)
        if self._server is not None:
            self._add_server(found, self._server)
        for metric in found.values():
            if metric.samples:  # no audit log, no metrics of one
                yield metric

    def _empty(self) -> dict[str, Any]:
        """A family for each metric, by its name without prefix."""
        found: dict[str, Any] = {}

        def make(
            kind: str, name: str, text: str, *labels: str, of: tuple[str, ...] = _POOL
        ) -> None:
            family = getattr(self._families, f"{kind}MetricFamily")
            found[name] = family(f"{self._prefix}_{name}", text + ".", labels=(*of, *labels))

        make("Gauge", "up", "1 while the pool serves: see Pool.health()")
        make("Counter", "calls", "Calls that have ended, by how", "result")
        make("Gauge", "workers", "Processes now, by state", "state")
        make("Histogram", "call_seconds", "From when a worker had the call until its end")
        make("Histogram", "queue_wait_seconds", "From admission until a worker had the call")
        make("Gauge", "workers_resident_bytes", "Memory of all workers")
        make("Gauge", "worker_resident_bytes_max", "Memory of the largest worker")
        make("Counter", "workers_cpu_seconds", "CPU time of workers, as far as scrapes saw it")
        for name, text in _COUNTERS.values():
            make("Counter", name, text)
        for name, text in _GAUGES.values():
            make("Gauge", name, text)
        for kind, name, text in _SERVER.values():
            make(kind, name, text, of=())
        return found

    def _add(self, found: dict[str, Any], label: str, pool: Pool) -> None:
        stats, latency, workers = pool.stats(), pool.latency(), pool.workers()
        labels = (label,)
        found["up"].add_metric(labels, int(bool(pool.health())))
        for table in (_COUNTERS, _GAUGES):
            for key, (name, _) in table.items():
                if key in stats:
                    found[name].add_metric(labels, stats[key])
        for result in _RESULTS:
            found["calls"].add_metric((label, result), stats[f"calls_{result}"])
        states = dict.fromkeys(_STATES, 0)
        for worker in workers:
            if worker.state in states:  # not the dead
                states[worker.state] += 1
        for state, number in states.items():
            found["workers"].add_metric((label, state), number)
        timed = {"call_seconds": latency.run, "queue_wait_seconds": latency.wait}
        for name, durations in timed.items():
            buckets = _cumulative(latency.bounds, durations)
            found[name].add_metric(labels, buckets, durations.sum)
        sizes = [worker.rss for worker in workers]
        found["workers_resident_bytes"].add_metric(labels, sum(sizes))
        found["worker_resident_bytes_max"].add_metric(labels, max(sizes, default=0))
        used = self._cpu[label].look({(worker.id, worker.pid) for worker in workers if worker.pid})
        found["workers_cpu_seconds"].add_metric(labels, used)

    def _add_server(self, found: dict[str, Any], server: Server) -> None:
        try:
            stats = server.stats()
        except PoolClosed:
            return  # it tells nothing any more; the pools do
        for key, (_, name, _text) in _SERVER.items():
            found[name].add_metric((), stats[key])


class _CPU:
    """CPU seconds of workers that come and go, as a sum that never falls. The collector's lock."""

    def __init__(self) -> None:
        self._tick = 1 / os.sysconf("SC_CLK_TCK")
        self._seen: dict[tuple[int, int], int] = {}
        self._total = 0

    def look(self, workers: set[tuple[int, int]]) -> float:
        """The sum, with what these (id, pid) have used since they were last seen."""
        now = {}
        for worker in workers:
            before = self._seen.get(worker, 0)
            ticks = max(before, _cpu_ticks(worker[1]))
            self._total += ticks - before
            now[worker] = ticks
        self._seen = now
        return self._total * self._tick


def _cpu_ticks(pid: int) -> int:
    """User and system time of a process; 0 when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, 1024)
    except OSError:
        return 0
    finally:
        os.close(fd)
    # The command's name may hold blanks and brackets: fields start after the last ')'.
    fields = text.rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


def _cumulative(bounds: tuple[float, ...], durations: Durations) -> list[tuple[str, int]]:
    """As Prometheus counts: each bucket holds all that are below it."""
    total, buckets = 0, []
    for bound, count in zip((*map(repr, bounds), "+Inf"), durations.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _named(pools: Pool | Mapping[str, Pool]) -> dict[str, Pool]:
    if isinstance(pools, Pool):
        return {"default": pools}
    if not isinstance(pools, Mapping) or not pools:
        raise TypeError(f"Collector({pools!r}): a Pool, or names to Pools, is needed")
    for name, pool in pools.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"Collector: the pool's name {name!r} is no text, or empty")
        if not isinstance(pool, Pool):
            raise TypeError(f"Collector: {name!r} is no Pool but {type(pool).__name__}")
    return dict(pools)
