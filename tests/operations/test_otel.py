"""A trace goes from the caller into the worker, and what is measured reaches the meter."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, get_current_span

import pyproc
from pyproc import Pool, otel

APP = """
import logging
import os

import pyproc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pyproc import otel

app = pyproc.App()


@app.on_start
def begin() -> None:
    trace.set_tracer_provider(TracerProvider())
    otel.stamp_logs()


def ids() -> tuple[str, str, str]:
    span = trace.get_current_span()
    context = span.get_span_context()
    parent = getattr(span, "parent", None)
    if parent is None:
        return ("", "", "")
    return (f"{context.trace_id:032x}", f"{parent.span_id:016x}", span.kind.name)


@app.expose
@otel.served
def plain() -> tuple[str, str, str]:
    return ids()


@app.expose
@otel.served
async def awaited() -> tuple[str, str, str]:
    return ids()


@app.expose
@otel.served
def made(n: int):
    for _ in range(n):
        yield ids()


@app.expose
@otel.served
async def amade(n: int):
    for _ in range(n):
        yield ids()


@app.expose
@otel.served
def item(n: int) -> tuple[str, str, str]:
    return ids()


@app.expose
@otel.served
def logs(text: str) -> None:
    logging.getLogger("traced").warning(text)


@app.expose
@otel.served
def fails() -> None:
    raise ValueError("a secret")


@app.expose
def crashes() -> None:
    os.abort()
"""


class Kit:
    """A traced pool, and what was recorded on the host's side."""

    def __init__(self, pool: Pool) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.pool = pool
        self.calls = otel.Traced(pool, tracer_provider=self.provider, meter_provider=self.meters)

    def span(self) -> ReadableSpan:
        (found,) = self.exporter.get_finished_spans()
        return found

    def context(self) -> SpanContext:
        context = self.span().get_span_context()
        assert context is not None
        return context

    def is_parent_of(self, ids: Any) -> bool:
        context = self.context()
        return [f"{context.trace_id:032x}", f"{context.span_id:016x}", "SERVER"] == list(ids)

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    path = tmp_path_factory.mktemp("otel") / "traced.py"
    path.write_text(APP)
    with Pool(path, workers=1, context=[otel.carrier]) as opened:
        yield opened


@pytest.fixture
def kit(pool: Pool) -> Iterator[Kit]:
    made = Kit(pool)
    yield made
    made.provider.shutdown()
    made.meters.shutdown()


async def _acall(kit: Kit) -> Any:
    return await kit.calls.acall("awaited")


async def _astream(kit: Kit) -> Any:
    return [item async for item in kit.calls.astream("amade", 2)][-1]


async def _amap(kit: Kit) -> Any:
    return [item async for item in kit.calls.amap("item", [1, 2])][-1]


WAYS = {
    "call": lambda kit: kit.calls.call("plain"),
    "options": lambda kit: kit.calls.options(timeout=60).call("plain"),
    "submit": lambda kit: kit.calls.submit("plain").result(60),
    "acall": lambda kit: asyncio.run(_acall(kit)),
    "map": lambda kit: list(kit.calls.map("item", [1, 2]))[-1],
    "amap": lambda kit: asyncio.run(_amap(kit)),
    "stream": lambda kit: list(kit.calls.stream("made", 2))[-1],
    "astream": lambda kit: asyncio.run(_astream(kit)),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_workers_span_is_a_child_of_the_callers(kit: Kit, way: str) -> None:
    ids = WAYS[way](kit)
    assert kit.span().kind is SpanKind.CLIENT
    assert kit.span().attributes == {
        "rpc.system": "pyproc", "rpc.method": kit.span().name.removeprefix("pyproc/"),
    }  # fmt: skip
    assert kit.is_parent_of(ids)


def test_the_callers_own_span_is_above_the_clients(kit: Kit) -> None:
    with kit.provider.get_tracer("app").start_as_current_span("request") as request:
        kit.calls.call("plain")
    above = {span.name: span for span in kit.exporter.get_finished_spans()}["pyproc/plain"].parent
    assert above is not None
    assert above.span_id == request.get_span_context().span_id


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_failure_is_in_the_span_without_its_text(kit: Kit, way: str) -> None:
    with pytest.raises(ValueError, match="a secret"):
        kit.calls.call("fails") if way == "call" else kit.calls.submit("fails").result(60)
    span = kit.span()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert "secret" not in span.to_json()


def test_a_crash_names_its_worker(tmp_path: Path) -> None:
    (tmp_path / "traced.py").write_text(APP)
    with Pool(tmp_path / "traced.py", workers=1, context=[otel.carrier]) as pool:
        kit = Kit(pool)
        with pytest.raises(pyproc.WorkerCrashed) as caught:
            kit.calls.call("crashes")
        attributes = kit.span().attributes or {}
    assert attributes["error.type"] == "WorkerCrashed"
    assert attributes["pyproc.worker"] == caught.value.worker_id


def test_a_cancelled_future_ends_its_span(kit: Kit) -> None:
    future = kit.calls.submit("plain")
    if future.cancel():
        assert (kit.span().attributes or {})["error.type"] == "CancelledError"
    else:
        future.result(60)
        assert kit.span().status.is_ok


def test_a_stream_left_early_is_no_failure(kit: Kit) -> None:
    items = kit.calls.stream("made", 1000)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert kit.span().status.is_ok


def test_durations_are_counted_by_function(kit: Kit) -> None:
    for _ in range(3):
        kit.calls.call("plain")
    (point,) = kit.points("pyproc.client.duration")
    assert (point.count, dict(point.attributes)) == (3, {"rpc.method": "plain"})


def test_the_pools_counters_are_read(kit: Kit) -> None:
    otel.observe({"docs": kit.pool}, meter_provider=kit.meters)
    before = kit.pool.stats()["calls_ok"]
    kit.pool.call("plain")
    points = {point.attributes["result"]: point for point in kit.points("pyproc.calls")}
    assert points["ok"].value == before + 1
    assert points["ok"].attributes["pool"] == "docs"
    states = {point.attributes["state"]: point.value for point in kit.points("pyproc.workers")}
    assert sum(states.values()) >= 1
    assert kit.points("pyproc.workers_resident")[0].value > 0


def test_a_meter_keeps_no_pool_alive(tmp_path: Path) -> None:
    path = tmp_path / "bare.py"
    path.write_text("import pyproc\napp = pyproc.App()\n@app.expose\ndef f() -> int: return 1\n")
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    with Pool(path, workers=1) as pool:
        otel.observe(pool, meter_provider=meters)
        assert reader.get_metrics_data() is not None
    del pool
    gc.collect()
    data = reader.get_metrics_data()
    assert data is None or not data.resource_metrics
    meters.shutdown()


class _Tracing(logging.Handler):
    """Notes the trace that is current where a record is handled."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        context = get_current_span().get_span_context()
        self.seen.append((record.getMessage(), context.trace_id, context.span_id))


def test_a_workers_log_record_is_handled_in_its_trace(kit: Kit) -> None:
    inner = _Tracing()
    handler = otel.Correlated(inner)
    logger = logging.getLogger("traced")
    logger.addHandler(handler)
    try:
        kit.calls.call("logs", "hello")
        limit = time.monotonic() + 60
        while not inner.seen:
            assert time.monotonic() < limit
            time.sleep(0.01)
        logger.warning("the host's own")
    finally:
        logger.removeHandler(handler)
        handler.close()
    (text, trace, span), own = inner.seen
    assert (text, trace) == ("hello", kit.context().trace_id)
    assert span not in (0, kit.context().span_id)  # the worker's span
    assert own == ("the host's own", 0, 0)


def test_a_traceparent_that_is_none_is_no_trace() -> None:
    inner = _Tracing()
    record = logging.makeLogRecord(
        {"msg": "x", "pyproc_worker": 1, "traceparent": "00-zz\r\n-evil"}
    )
    handler = otel.Correlated(inner)
    handler.handle(record)
    handler.close()
    assert inner.seen == [("x", 0, 0)]


def test_a_pool_that_carries_no_trace_is_refused(app: str) -> None:
    with Pool(app, workers=1) as pool, pytest.raises(ValueError, match=r"context=\[otel.carrier\]"):
        otel.Traced(pool)


def test_without_a_caller_a_served_function_just_runs(kit: Kit) -> None:
    assert kit.pool.call("plain") == ("", "", "")
