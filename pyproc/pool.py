"""Pool: the Python face of the core. Thin: it checks options and converts values.

host code -> Pool -> codec -> _core -> (the core's rooms) -> worker -> user function
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, Never, Self

from pyproc import _core, _forked, _options, aio, buffers, config, notebook
from pyproc import context as carried
from pyproc import sandbox as sandboxes
from pyproc._confine import Confinement
from pyproc.audit import AuditOptions
from pyproc.bars import Progress
from pyproc.bundle import BundleOptions
from pyproc.calls import Calls
from pyproc.config import Limits, Recycle, Timeouts
from pyproc.delivery import Delivery
from pyproc.errors import PoolClosed
from pyproc.events import Event, Events
from pyproc.lifecycle import Lifecycle
from pyproc.operations import Operations
from pyproc.output import Captured
from pyproc.rate import Rates
from pyproc.resilience import Breaker, Guard, Retry
from pyproc.sandbox import Sandbox
from pyproc.target import Target, describe, result_hint
from pyproc.watching import Watching

Output = Literal["forward", "capture", "drop"]
StartMethod = Literal["auto", "template", "exec"]
_open_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool(Calls, Lifecycle, Watching):
    """Worker processes that run the functions of `target`.

    `target`: "module:attribute", a path to a .py file, a module, an App or a list of functions.
    workers: how many at most (default: usable CPUs); or min_workers and max_workers, where those
        above the minimum leave after idle_timeout seconds (10; None: they stay).
    recycle: when workers are replaced by fresh ones.
    python: another interpreter. path: instead of the host's sys.path, before the
    interpreter's own entries.
    env: variables added to the scrubbed environment. cwd: their directory.
    start_method: "template" forks workers from a process that has the application imported,
        "exec" starts an interpreter for each, "auto" (default) forks where that is safe.
    preload: modules to import before the application.
    max_queue, max_queue_bytes: what may wait. priority_step: seconds of waiting that outweigh one
        step of `options(priority=)`.
    max_in_flight: calls of `async def` functions that one worker runs side by side, up to 1000;
        other functions have their worker to themselves.
    retry: calls that failed are made again; without it at most once. breaker: stops calling a
        function that kills its workers. quarantine_after: a request that has ended so many workers
        is refused with TaskQuarantined (None, the default: never).
    on_event: called with each Event, on a thread of the pool.
    context: context variables whose values travel with each call to the function; each is a global
        of a module that workers can import.
    sandbox: what workers may do: a profile's name or a Sandbox. "baseline" (default): they read
        what an ordinary program reads, write to a scratch directory only, and make no sockets; a
        machine that cannot enforce that is SandboxUnavailable. "none" takes nothing away.
    rate: how many calls a second are let through, RateLimited beyond: a Rate, a number for each
        function, or a dict of names (globs) to one of them. Maps wait for their turn.
    audit: where security events are written: a path or an AuditLog.
    control: a socket for `pyproc ps`, `top`, `dump` and so on; control_policy: a file that says
        which commands whom (without one, all to the pool's own user and root). bundles: a directory
        for a file about each death, for `pyproc replay`.
    buffer_threshold: buffers (bytes, numpy arrays, ...) of so many bytes go in shared memory
        instead of through a socket; None: never. buffer_stock: bytes of such memory that are kept
        to be used again.
    after_fork: what a forked child's copy does: "close" (default), it raises PoolClosed; or
        "reopen", it opens anew with its first use, as servers need that import the application
        before they fork.
    output: "forward" shows what workers print in the host's sys.stdout and sys.stderr, "capture"
        keeps it for `captured()`, "drop". Log records reach the host's loggers with each.

    Opening waits until one worker is ready; raises WorkerStartError with the application's own
    traceback, ValueError or TypeError for options. Any thread may call. A pool
    left open is killed, with a ResourceWarning.
    """

    def __init__(
        self,
        target: Target,
        *,
        workers: int | None = None,
        min_workers: int | None = None,
        max_workers: int | None = None,
        python: str | os.PathLike[str] | None = None,
        path: Iterable[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        start_method: StartMethod = "auto",
        preload: Iterable[str] = (),
        max_queue: int | None = None,
        max_queue_bytes: int | str | None = "256MiB",
        max_in_flight: int = 1,
        priority_step: float = 1.0,
        idle_timeout: float | Literal["auto"] | None = "auto",
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        recycle: Recycle | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        quarantine_after: int | None = None,
        on_event: Callable[[Event], object] | None = None,
        output: Output = "forward",
        context: Iterable[ContextVar[Any]] = (),
        sandbox: str | Sandbox = "baseline",
        rate: Rates | None = None,
        audit: str | os.PathLike[str] | AuditOptions | None = None,
        control: str | os.PathLike[str] | None = None,
        control_policy: str | os.PathLike[str] | None = None,
        bundles: str | os.PathLike[str] | BundleOptions | None = None,
        buffer_threshold: int | str | None = "256KiB",
        buffer_stock: int | str = "256MiB",
        after_fork: Literal["close", "reopen"] = "close",
    ) -> None:
        given = {n: v for n, v in locals().items() if n not in ("self", "__class__")}
        self._closed = True  # until it is open
        self._reopens = _options.after_fork(after_fork, given)
        if self._reopens is not None:  # what could be read once only is kept
            path, preload, context = (given[name] for name in ("path", "preload", "context"))
        self._carried = carried.find(context)
        self._large, stock = _options.buffers(buffer_threshold, buffer_stock)
        least, most = _options.worker_counts(workers, min_workers, max_workers)
        self._events = Events(on_event)
        self._dumping = threading.Lock()
        self._guard = Guard(retry or Retry(), breaker, quarantine_after, self._events)
        self._operations = Operations(self._events, self._guard)
        self._captured = Captured() if output == "capture" else None
        self._delivery = Delivery(
            self._events.take, None if self._captured is None else self._captured.add
        )
        options = {
            **describe(target),
            **_options.interpreter(python, path),
            **_options.start(start_method, preload, carried.modules(self._carried)),
            **(limits or Limits()).as_core(),
            **_options.seconds(timeouts or Timeouts()),
            **_options.queue_limits(max_queue, max_queue_bytes),
            "max_in_flight": _options.in_flight(max_in_flight),
            **_options.recycle(recycle, limits or Limits()),
            **_options.idle_timeout(idle_timeout, min_workers, max_workers),
            "min_workers": least,
            "max_workers": most,
            "priority_step": _options.priority_step(priority_step),
            "max_frame": _options.MAX_FRAME,
            "max_result": min(_options.max_result(limits or Limits()), _options.MAX_FRAME),
            "max_memory": _options.max_result(limits or Limits()),
            "buffer_threshold": self._large or 0,
            "memory_stock": stock,
            "package": os.path.dirname(os.path.abspath(__file__)),
            "env": _options.environment(env, (limits or Limits()).cpu_count),
            "env_pass": list(config.ENVIRONMENT_ALLOWED),
            "cwd": None if cwd is None else os.path.abspath(os.fspath(cwd)),
            "drop_output": int(output == "drop"),
        }
        if output not in ("forward", "capture", "drop"):
            raise ValueError(f"output={output!r}: 'forward', 'capture' or 'drop' is needed")
        if cwd is not None and not os.path.isdir(cwd):
            raise FileNotFoundError(f"cwd={os.fspath(cwd)!r}: there is no such directory")
        self._confined = Confinement(sandboxes.of(sandbox), options)
        options |= self._confined.as_core()
        self._least, self._most = least, most
        self._chunk_max = (recycle or Recycle()).chunk_max
        self._task_timeout = (timeouts or Timeouts()).task
        self._counts_output = limits is not None and limits.output is not None
        self._own_limits = _options.own_limits(limits or Limits())
        self._owner = os.getpid()
        self._host_types = _host_types(target)
        try:
            target_name = str(options["target"])
            self._operations.start(rate, audit, control, bundles, target_name, control_policy)
            core = _core.Pool(**options, events=self._delivery.started())
        except BaseException:
            self._confined.close()
            self._delivery.stop()
            self._operations.close()
            del self._delivery  # the error's traceback holds this frame: give the queue back now
            raise
        self._core = core
        self._shares = any(core.shares(name) for name in core.functions())
        super().__init__(self)
        self._closed = False
        _open_pools.add(self)
        if "IPython" in sys.modules:
            notebook.watch(_open_pools)
        try:
            self._operations.opened(self)
        except BaseException:
            self.close(0)
            raise

    def options(
        self,
        *,
        timeout: float | Literal[False] | None = False,
        queue_timeout: float | Literal[False] | None = False,
        deadline: float | None = None,
        priority: int = 0,
        memory: int | str | None = None,
        cpu_time: float | None = None,
        output: int | str | None = None,
        result_size: int | str | None = None,
        retry: Retry | None = None,
        result_type: object = None,
        key: object = None,
        item_timeout: float | None = None,
        buffersize: int | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        restart: int | Literal["always"] = 0,
        **others: Never,
    ) -> Calls:
        """The same calls with other options.

        timeout, queue_timeout: seconds that a call may run, and wait (None: no limit). deadline: a
        moment of `time.monotonic()` by which it has ended, waiting and running together; the
        earliest limit counts. priority, -100 to 100: higher is served first, and each step
        outweighs one second of waiting (Pool(priority_step=)), so that nothing waits for ever.
        memory, cpu_time, output, result_size: as in Limits, for these calls; memory and result_size
        at most the pool's (the other limits are the pool's alone). retry: instead of the pool's.
        key: calls with one key, as a user's name, go to one worker, in their order and one at a
        time, so that it may keep something for them; after its end to another one. Rate(by="key")
        counts calls under it.
        result_type: a type that msgspec turns the result into, on the host; of a stream each item.
        item_timeout: seconds that a stream's generator may take for an item, not counting the time
        that it waits for its reader. buffersize: items that it may be ahead of the reader.
        on_progress: called with what the function gives to `pyproc.progress`, at most every 20 ms;
        on a thread of the pool, of acall on the loop's, of a stream on the reader's. restart: how
        often an actor is made again when its worker has ended.
        """
        if others:
            _options.refuse_limits(others)
        if timeout is not False:
            config.check_seconds(timeout, "timeout")
        if queue_timeout is not False:
            config.check_seconds(queue_timeout, "queue_timeout")
        calls = Calls(
            self,
            timeout,
            queue_timeout,
            result_type,
            _options.sticky(
                _options.rare(
                    priority, deadline, memory, cpu_time, output, result_size, self._own_limits
                ),
                key,
            ),
            retry,
            key="" if key is None else str(key),
            streaming=_options.streaming(item_timeout, buffersize),
            on_progress=_options.function(on_progress, "on_progress"),
        )
        if restart != 0:
            from pyproc.actors import check_restart

            calls.restart = check_restart(restart)
        return calls

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> Self:
        """A pool as a TOML file, the environment (PYPROC_POOL_...) and `options` say, the later
        ones before the earlier; see `pyproc.configuration`. Raises ConfigError, and all that
        opening a pool raises."""
        from pyproc import configuration

        loaded = configuration.load(path)
        target = options.pop("target", None)
        found = loaded.pool_options() | options
        return cls(loaded.target() if target is None else target, **found)

    def functions(self) -> dict[str, str]:
        """The functions that the workers expose, with their signatures."""
        return self._core.functions()

    def close(self, timeout: float | None = None) -> None:
        """Refuses new calls, lets the admitted ones end for `timeout` seconds (None: as long as
        they take), ends the rest with PoolClosed, and waits until every process is gone."""
        if timeout is not None and not (timeout >= 0 and not math.isnan(timeout)):
            raise ValueError(f"close(timeout={timeout!r}): 0 seconds or more, or None, is needed")
        if self._owner != os.getpid():
            return
        try:
            self._core.close(timeout)
        finally:
            if not self._closed:
                self._closed = True
                _open_pools.discard(self)
                self._confined.close()
                self._delivery.stop()
                self._operations.close()
                aio.sweep()

    def __enter__(self) -> Self:
        if self._closed:
            raise PoolClosed("the pool is closed")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(None if kind is None else 0)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await aio.in_thread(self.close, None if kind is None else 0)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._owner == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._delivery.leave()
            self._closed = True
            self._confined.close()
            self._operations.close()
            del self._core  # a recorded warning may keep this object, not its processes

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<pyproc.Pool {state} max_workers={getattr(self, '_most', '?')}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Pool cannot be pickled: it belongs to the process that opened it")


def _host_types(target: Target) -> dict[str, object]:
    """Result annotations that the host itself holds: of an App or functions that it has."""
    from pyproc.worker.registry import App

    functions: Mapping[str, Any] = {}
    if isinstance(target, App):
        functions = target.functions
    elif isinstance(target, Sequence) and not isinstance(target, str):
        functions = {getattr(item, "__name__", ""): item for item in target}
    elif callable(target):
        functions = {getattr(target, "__name__", ""): target}
    types = {}
    for name, function in functions.items():
        hint = result_hint(function)
        if hint is not None:
            types[name] = hint
    return types


def _close_all() -> None:
    """At exit: nothing of ours may ask for the GIL once the interpreter goes."""
    for pool in list(_open_pools):
        if pool._owner != os.getpid():
            continue  # a forked child's copy: the parent's is open
        if pool._reopens is None or not pool._reopens.is_copy:  # of which nobody else knows
            warnings.warn(f"unclosed {pool!r}", ResourceWarning, source=pool, stacklevel=2)
        pool.close(0)


def _before_fork() -> None:
    buffers.before_fork(list(_open_pools))


def _after_fork() -> None:
    for pool in list(_open_pools):
        pool._core.after_fork()
        pool._operations.after_fork()
        if pool._reopens is not None:
            _forked.stand_in(pool)


atexit.register(_close_all)
os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
