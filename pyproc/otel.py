"""OpenTelemetry: spans around calls and in workers, the pool's counters, logs with their trace.

    pool = Pool("docs:app", context=[otel.carrier])
    traced = otel.Traced(pool)          # client spans; the trace goes along with each call

    @app.expose
    @otel.served                        # in the worker: a server span that is the client's child
    def extract(data: bytes) -> str: ...

Both ends use the providers that their process has set up; without one nothing is recorded, and the
trace is passed on all the same. Workers may lack OpenTelemetry: then `served` does nothing.
Nothing here is imported, and no call pays, before it is asked for.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import inspect
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from pyproc.future import Future
    from pyproc.pool import Pool

F = TypeVar("F", bound=Callable[..., Any])

#: What travels: the propagators' fields, as "traceparent". Give it to Pool(context=).
carrier: ContextVar[dict[str, str]] = ContextVar("pyproc.otel.carrier")
_NAME = "pyproc"
_RESULTS = ("ok", "failed", "crashed", "timed_out", "cancelled")
_STATES = ("launching", "importing", "ready", "busy", "draining")


def _api() -> Any:
    try:
        import opentelemetry.context
        import opentelemetry.metrics
        import opentelemetry.propagate
        import opentelemetry.trace
    except ImportError as error:
        raise ImportError(
            "pyproc.otel needs opentelemetry-api: pip install 'pyproc-native[opentelemetry]'",
            name="opentelemetry",
        ) from error
    return opentelemetry


class Traced:
    """The calls of a pool, each in a client span; `options` answers the same with other options.

    pool: opened with context=[otel.carrier], a ValueError without it. tracer_provider,
    meter_provider: instead of the process's own. A span has the function's name and the attributes
    rpc.system, rpc.method and, of a call that failed, error.type with the worker's and the
    call's id if they are known; values never. The duration of each goes into the histogram
    `pyproc.client.duration` (seconds). Raises ImportError without opentelemetry-api. Any thread.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if not any(variable is carrier for variable in pool._carried.values()):
            raise ValueError("the pool does not carry traces: open it with context=[otel.carrier]")
        self._otel = _api()
        self._calls: Any = pool
        self._tracer = self._otel.trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = self._otel.metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "pyproc.client.duration", unit="s", description="From a call's start to its end."
        )

    def options(self, **options: Any) -> Traced:
        """As Pool.options."""
        other = Traced.__new__(Traced)
        other.__dict__.update(self.__dict__)
        other._calls = self._calls.options(**options)
        return other

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """As Pool.call."""
        with _Client(self, function) as client, client.carried():
            return self._calls.call(function, *args, **kwargs)

    async def acall(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """As Pool.acall."""
        with _Client(self, function) as client, client.carried():
            return await self._calls.acall(function, *args, **kwargs)

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future:
        """As Pool.submit; the span ends with the future."""
        client = _Client(self, function)
        try:
            with client.carried():
                future: Future = self._calls.submit(function, *args, **kwargs)
        except BaseException as error:
            client.end(error)
            raise
        future.add_done_callback(client.end_with)
        return future

    def map(self, function: str, iterable: Iterable[Any], /, **options: Any) -> Iterator[Any]:
        """As Pool.map; one span from the first item that is asked for to the last."""
        return self._iterated(function, lambda: self._calls.map(function, iterable, **options))

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As Pool.stream; one span from the first item to the end, or to the iterator's close."""
        return self._iterated(function, lambda: self._calls.stream(function, *args, **kwargs))

    def amap(self, function: str, iterable: Iterable[Any], /, **options: Any) -> AsyncIterator[Any]:
        """As Pool.amap."""
        return self._aiterated(function, lambda: self._calls.amap(function, iterable, **options))

    def astream(self, function: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """As Pool.astream."""
        return self._aiterated(function, lambda: self._calls.astream(function, *args, **kwargs))

    def _iterated(self, function: str, begin: Callable[[], Any]) -> Iterator[Any]:
        with _Client(self, function) as client:
            with client.carried():
                items = begin()  # takes the context along here, not later
            with contextlib.closing(items):
                yield from items

    async def _aiterated(self, function: str, begin: Callable[[], Any]) -> AsyncIterator[Any]:
        with _Client(self, function) as client:
            with client.carried():
                items = begin()
            async with contextlib.aclosing(items):
                async for item in items:
                    yield item


class _Client:
    """One call's span, which any thread may end, once."""

    def __init__(self, traced: Traced, function: str) -> None:
        self._traced, self._function = traced, function
        self._otel = traced._otel
        self._began = time.perf_counter()
        self._span: Span = traced._tracer.start_span(
            f"pyproc/{function}",
            kind=self._otel.trace.SpanKind.CLIENT,
            attributes={"rpc.system": _NAME, "rpc.method": function},
        )

    @contextlib.contextmanager
    def carried(self) -> Iterator[None]:
        """What is called inside takes the span along."""
        fields: dict[str, str] = {}
        self._otel.propagate.inject(fields, self._otel.trace.set_span_in_context(self._span))
        token = carrier.set(fields)
        try:
            yield
        finally:
            carrier.reset(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Who leaves an iterator early has what he wanted.
        self.end(None if isinstance(error, GeneratorExit) else error)

    def end_with(self, future: concurrent.futures.Future[Any]) -> None:
        """A future's done callback."""
        if future.cancelled():
            self.end(concurrent.futures.CancelledError())
        else:
            self.end(future.exception())

    def end(self, error: BaseException | None) -> None:
        """The span and its duration."""
        labels = {"rpc.method": self._function}
        if error is not None:
            labels["error.type"] = type(error).__qualname__
            self._span.set_status(self._otel.trace.StatusCode.ERROR, labels["error.type"])
            self._span.set_attribute("error.type", labels["error.type"])
            for name in ("worker", "call"):
                number = getattr(error, f"{name}_id", None)
                if isinstance(number, int):
                    self._span.set_attribute(f"pyproc.{name}", number)
        self._traced._duration.record(time.perf_counter() - self._began, labels)
        self._span.end()


def _extracted() -> Any:
    """The caller's context as OpenTelemetry's; None when no trace came along, or none can be read
    here."""
    fields = carrier.get(None)
    if not fields:
        return None
    try:
        otel = _api()
    except ImportError:
        return None
    return otel.propagate.extract(fields)


@contextlib.contextmanager
def _serving(function: str) -> Iterator[None]:
    parent = _extracted()
    if parent is None:
        yield
        return
    otel = _api()
    tracer = otel.trace.get_tracer(_NAME)
    with tracer.start_as_current_span(
        f"pyproc/{function}",
        parent,
        kind=otel.trace.SpanKind.SERVER,
        attributes={"rpc.system": _NAME, "rpc.method": function},
    ):
        yield


def served(function: F) -> F:
    """Runs the function in a server span below the caller's; a decorator, under `@app.expose`.

    For plain, async, generator and async generator functions. What it raises is recorded in the
    span, as the worker's own provider has it. Without a trace of the caller, or without
    OpenTelemetry in the worker, the function just runs.
    """
    name = function.__name__
    wrapped: Any

    if inspect.isasyncgenfunction(function):

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _serving(name):
                async with contextlib.aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

    elif inspect.iscoroutinefunction(function):

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _serving(name):
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _serving(name):
                return (yield from function(*args, **kwargs))

    else:

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _serving(name):
                return function(*args, **kwargs)

    made: Any = functools.wraps(function)(wrapped)
    return made  # type: ignore[no-any-return]


def stamp_logs() -> None:
    """Gives each log record of this process the running trace as `record.traceparent`; for workers:
    `app.on_start(otel.stamp_logs)`. It reaches the host with the record's other extras."""
    before = logging.getLogRecordFactory()

    def stamped(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        span = _current_span()
        if span is not None and span.is_valid:
            flags = int(span.trace_flags)
            record.traceparent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{flags:02x}"
        return record

    logging.setLogRecordFactory(stamped)


def _current_span() -> Any:
    try:
        otel = _api()
    except ImportError:
        return None
    return otel.trace.get_current_span().get_span_context()


class Correlated(logging.Handler):
    """Hands records to another handler, those of workers within the trace they were written in.

    For OpenTelemetry's own LoggingHandler, which takes a record's trace from where it is handled.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__(handler.level)
        self._handler = handler
        self._otel = _api()

    def emit(self, record: logging.LogRecord) -> None:
        """Any thread."""
        traceparent = getattr(record, "traceparent", None)
        if not isinstance(traceparent, str) or not hasattr(record, "pyproc_worker"):
            self._handler.handle(record)
            return
        # The standard's own reader refuses what is none: a worker may have written anything.
        there = self._otel.propagate.extract({"traceparent": traceparent})
        token = self._otel.context.attach(there)
        try:
            self._handler.handle(record)
        finally:
            self._otel.context.detach(token)

    def flush(self) -> None:
        """The other handler's."""
        self._handler.flush()

    def close(self) -> None:
        """The other handler, too."""
        self._handler.close()
        super().close()


def observe(
    pools: Pool | Mapping[str, Pool], *, meter_provider: MeterProvider | None = None
) -> None:
    """Has a meter read what pools count: what `pyproc.metrics.Collector` gives to Prometheus,
    as `pyproc.calls`, `pyproc.workers` and so on, with the attribute `pool`.

    Read when the provider's reader asks, never between. The pools are not kept alive by it. Raises
    ImportError without opentelemetry-api. Any thread.
    """
    otel = _api()
    from pyproc import metrics

    named = {name: weakref.ref(pool) for name, pool in metrics._named(pools).items()}
    observation = otel.metrics.Observation

    def living() -> Iterator[tuple[str, Pool]]:
        for name, reference in named.items():
            pool = reference()
            if pool is not None:
                yield name, pool

    def of_stats(key: str, **labels: str) -> Callable[[Any], Any]:
        def read(_options: Any) -> Iterator[Any]:
            for name, pool in living():
                stats = pool.stats()
                if key in stats:
                    yield observation(stats[key], {"pool": name, **labels})

        return read

    def workers(_options: Any) -> Iterator[Any]:
        for name, pool in living():
            found = [worker.state for worker in pool.workers()]
            for state in _STATES:
                yield observation(found.count(state), {"pool": name, "state": state})

    def resident(_options: Any) -> Iterator[Any]:
        for name, pool in living():
            yield observation(sum(worker.rss for worker in pool.workers()), {"pool": name})

    meter = otel.metrics.get_meter(_NAME, meter_provider=meter_provider)
    meter.create_observable_counter(
        "pyproc.calls",
        [of_stats(f"calls_{result}", result=result) for result in _RESULTS],
        description="Calls that have ended, by how.",
    )
    for key, (name, text) in metrics._COUNTERS.items():
        meter.create_observable_counter(f"pyproc.{name}", [of_stats(key)], description=f"{text}.")
    for key, (name, text) in metrics._GAUGES.items():
        meter.create_observable_gauge(f"pyproc.{name}", [of_stats(key)], description=f"{text}.")
    meter.create_observable_gauge("pyproc.workers", [workers], description="Processes, by state.")
    meter.create_observable_gauge(
        "pyproc.workers_resident", [resident], unit="By", description="Memory of all workers."
    )
