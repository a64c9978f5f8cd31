"""What a daemon shows: /healthz, /readyz, /metrics, /status.json and the live page at /.

Everything is read only, and read when it is asked for. What comes from workers (how one died) is
text in JSON, and text in the page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyproc.operations import is_wanted
from pyproc.web import page
from pyproc.web.httpd import Answer, HTTPServer, Pages
from pyproc.web.places import place_of

if TYPE_CHECKING:
    from pyproc.pool import Pool
    from pyproc.server import Server
    from pyproc.watching import Durations

DEATHS_MOST = 50
WORKERS_MOST = 1000
_JSON = "application/json"
_COUNTS = (
    "calls_running", "calls_waiting", "calls_ok", "calls_failed", "calls_crashed",
    "calls_timed_out", "calls_cancelled", "calls_rejected", "workers_started", "workers_died",
)  # fmt: skip


class Site:
    """The pages of pools behind a server. Any thread; it owns neither."""

    def __init__(self, pools: Mapping[str, Pool], server: Server | None = None) -> None:
        unnamed = "-" if "default" in pools else "default"
        self._pools = {name or unnamed: pool for name, pool in pools.items()}
        self._server = server
        self._collect = _collector(self._pools, server)
        #: The daemon is about to end: readyz says so.
        self.leaves = False

    def pages(self) -> Pages:
        """Every page by its path."""
        return {
            "/": lambda: Answer(page.HTML, "text/html; charset=utf-8"),
            "/page.css": lambda: Answer(page.CSS, "text/css; charset=utf-8"),
            "/page.js": lambda: Answer(page.JS, "text/javascript; charset=utf-8"),
            "/status.json": self._status,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    def metrics_pages(self) -> Pages:
        """Only /metrics. ImportError when that cannot be."""
        if self._collect is None:
            raise ImportError(
                "metrics need prometheus_client: pip install 'pyproc-native[metrics]'",
                name="prometheus_client",
            )
        return {"/metrics": self._metrics}

    def _healthz(self) -> Answer:
        """Whether the daemon should live on."""
        return _verdict({name: bool(pool.health()) for name, pool in self._pools.items()})

    def _readyz(self) -> Answer:
        """Whether calls may be sent to it."""
        if self.leaves:
            return _verdict({"daemon": False})
        return _verdict({name: pool.health().ready > 0 for name, pool in self._pools.items()})

    def _metrics(self) -> Answer:
        if self._collect is None:
            text = b"metrics need prometheus_client: pip install 'pyproc-native[metrics]'\n"
            return Answer(text, status=501)
        return Answer(self._collect(), "text/plain; version=0.0.4; charset=utf-8")

    def _status(self) -> Answer:
        found: dict[str, list[dict[str, Any]]] = {"pools": [], "workers": [], "deaths": []}
        ready = not self.leaves
        for name, pool in self._pools.items():
            health, stats, latency = pool.health(), pool.stats(), pool.latency()
            ready = ready and health.ready > 0
            found["pools"].append({
                "pool": name, "status": health.status, **{key: stats[key] for key in _COUNTS},
                "run_p50": _quantile(latency.bounds, latency.run, 0.5),
                "run_p99": _quantile(latency.bounds, latency.run, 0.99),
                "wait_p99": _quantile(latency.bounds, latency.wait, 0.99),
            })  # fmt: skip
            found["workers"] += [
                {"pool": name, **asdict(worker), "age": round(worker.age, 1)}
                for worker in pool.workers()[: WORKERS_MOST - len(found["workers"])]
            ]
            found["deaths"] += _deaths(name, pool)
        found["deaths"] = sorted(found["deaths"], key=lambda one: one["time"], reverse=True)
        del found["deaths"][DEATHS_MOST:]
        found["server"] = [] if self._server is None else [dict(self._server.stats())]
        body = json.dumps({"ready": ready, **found}, ensure_ascii=True)
        return Answer(body.encode(), _JSON)


def _verdict(parts: Mapping[str, bool]) -> Answer:
    good = all(parts.values())
    lines = [f"{name}: {'ok' if fine else 'no'}" for name, fine in parts.items()]
    return Answer("\n".join([*lines, ""]).encode(), status=200 if good else 503)


def _deaths(name: str, pool: Pool) -> list[dict[str, Any]]:
    """The last ones that nobody wished for, with what the pool found out about each."""
    return [
        {"pool": name, "time": _moment(event.time), "worker": event.worker_id, "pid": event.pid,
         "detail": event.detail}
        for event in pool.events()
        if event.kind in ("death", "start_failed", "violation")
        and not (event.kind == "death" and is_wanted(event.detail))
    ][-DEATHS_MOST:]  # fmt: skip


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _quantile(bounds: tuple[float, ...], durations: Durations, share: float) -> str:
    """The bucket in which it lies; empty when nothing was measured."""
    left = durations.count * share
    if durations.count == 0:
        return ""
    for bound, count in zip(bounds, durations.counts, strict=False):
        left -= count
        if left <= 0:
            return f"<= {bound * 1000:g} ms"
    return f"> {bounds[-1] * 1000:g} ms"


def _collector(pools: Mapping[str, Pool], server: Server | None) -> Callable[[], bytes] | None:
    """What answers /metrics; None without prometheus_client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        return None
    from pyproc.metrics import Collector

    registry = CollectorRegistry()
    registry.register(Collector(pools, server=server))
    return lambda: generate_latest(registry)


def open_sites(
    pools: Mapping[str, Pool],
    server: Server | None,
    *,
    http: str | None = None,
    metrics: str | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
    on_refused: Callable[[str], object] | None = None,
) -> tuple[Site, list[HTTPServer]]:
    """The servers that were asked for. When one cannot be, none is, and this raises why."""
    site = Site(pools, server)
    opened: list[HTTPServer] = []
    try:
        for name, address, pages in (
            ("http", http, site.pages),
            ("metrics", metrics, site.metrics_pages),
        ):
            if address is None:
                continue
            place = place_of(
                address, name, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file
            )
            opened.append(HTTPServer(place, pages(), on_refused))
    except BaseException:
        for one in opened:
            one.close()
        raise
    return site, opened
