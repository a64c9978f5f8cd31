"""Pool: the Python face of the core. Thin: it checks options and converts values.

host code -> Pool -> codec -> _core -> (the core's rooms) -> worker -> user function
"""

from __future__ import annotations

import atexit
import math
import os
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from pyproc import _core, _options, aio, config, mapping
from pyproc.codec import convert, decode_value, encode_arguments
from pyproc.config import Limits, Recycle, Timeouts
from pyproc.delivery import Delivery
from pyproc.errors import PoolClosed
from pyproc.future import Future
from pyproc.lifecycle import Lifecycle
from pyproc.target import Target, describe

Output = Literal["forward", "drop"]
StartMethod = Literal["auto", "template", "exec"]
_open_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Calls:
    """The ways to call, with fixed options; what `Pool.options` answers. Any thread."""

    def __init__(
        self,
        pool: Pool,
        run: float | Literal[False] | None = False,
        queue: float | Literal[False] | None = False,
        result_type: object = None,
        rare: dict[str, Any] | None = None,
    ) -> None:
        self._pool = pool
        self._core: _core.Pool = pool._core
        self._run = run
        self._queue = queue
        self._type = result_type
        self._rare = rare  # options that few calls have, by the core's names

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls `function` in a worker and answers its result; blocks, ^C works.

        Raises what the function raised (builtin types as themselves, others as RemoteError),
        ValidationError, CodecError, TaskTimeout, WorkerDied and its kinds, WorkerStartError,
        ResultTooLarge, ProtocolError, PoolClosed.
        """
        value = self._core.call_values(function, args, kwargs, self._run, self._queue, self._rare)
        if value is NotImplemented:  # the arguments are not plain
            encoded = encode_arguments(args, kwargs)
            value = self._core.call(function, *encoded, self._run, self._queue, self._rare)
        if type(value) is tuple:  # no plain answer is one: codec and bytes
            return decode_value(value[1], value[0], self._result_type(function))
        hint = self._result_type(function)
        return value if hint is None else convert(value, hint, "result")

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future:
        """Queues a call and answers its Future at once. Raises QueueFull when the queue is."""
        payload, codec, keywords = encode_arguments(args, kwargs)
        return self.submit_payload(function, payload, codec, keywords, 0, False)

    def submit_payload(
        self,
        function: str,
        payload: bytes,
        codec: int,
        keywords: tuple[str, ...],
        items: int,
        wait: bool,
    ) -> Future:
        """`submit` for what is encoded already."""
        queue = self._pool._delivery.started()
        future = Future()
        future._pool = self._pool
        future._core = self._core
        future._type = self._result_type(function)
        future._id = self._core.submit(
            function, payload, codec, keywords, self._run, self._queue, self._rare,
            queue, future.settle, items, wait,
        )  # fmt: skip
        return future

    def submit_raw(
        self,
        function: str,
        payload: bytes,
        codec: int,
        items: int,
        settle: Callable[..., None],
        queue: _core.Queue | None = None,
        keywords: tuple[str, ...] = (),
    ) -> int:
        """Queues a call whose end is given to `settle(exception, codec, payload, count)`."""
        if queue is None:
            queue = self._pool._delivery.started()
        return self._core.submit(
            function, payload, codec, keywords, self._run, self._queue, self._rare,
            queue, settle, items, True,
        )  # fmt: skip

    async def acall(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """`call` for asyncio: cancelling the awaiting task stops the work."""
        return await aio.call(self, function, args, kwargs)

    def map(
        self,
        function: str,
        iterable: Iterable[Any],
        /,
        *,
        buffersize: int | None = None,
        chunksize: int | Literal["auto"] = "auto",
        ordered: bool = True,
        return_exceptions: bool = False,
        progress: Callable[[int, int | None], object] | bool | str | None = None,
        timeout: float | None = None,
    ) -> mapping.Mapping:
        """Calls `function(item)` for each item and yields the results, lazily.

        The input is read as results are taken, at most `buffersize` items ahead (None: enough to
        keep the workers busy), so it may be endless. `chunksize`: items sent at a time. A failed
        item raises at its place, or is yielded with return_exceptions; the others go on. `timeout`:
        seconds to wait for one result. `progress`: called with (done, total or None), True for tqdm
        or "rich".
        """
        options = mapping.Options(
            buffersize, chunksize, ordered, return_exceptions, progress, timeout
        )
        options.check()
        return mapping.Mapping(self, function, iterable, options)

    def amap(
        self, function: str, iterable: Iterable[Any], /, *, buffersize: int = 64
    ) -> AsyncGenerator[Any, None]:
        """`map` for asyncio, in order, at most `buffersize` items ahead; the first failure ends it.

        Leaving it early stops the work once it is closed: `async with contextlib.aclosing(...)`
        does so at once.
        """
        if not isinstance(buffersize, int) or buffersize < 1:
            raise ValueError(f"buffersize={buffersize!r}: 1 or more is needed")
        return aio.map_ordered(self, function, iterable, buffersize)

    def _result_type(self, function: str) -> object:
        return self._type


class Pool(Calls, Lifecycle):
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
    output: "forward" shows what workers print in the host's sys.stdout and sys.stderr; "drop".
        Log records reach the host's loggers with both.

    Opening waits until one worker is ready; raises WorkerStartError with the application's own
    traceback, ValueError or TypeError for options. Any thread may call; after a fork the child's
    copy raises PoolClosed. A pool left open is killed, with a ResourceWarning.
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
        priority_step: float = 1.0,
        idle_timeout: float | Literal["auto"] | None = "auto",
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        recycle: Recycle | None = None,
        output: Output = "forward",
    ) -> None:
        self._closed = True  # until it is open
        least, most = _options.worker_counts(workers, min_workers, max_workers)
        self._delivery = Delivery()
        options = {
            **describe(target),
            **_options.interpreter(python, path),
            **_options.start(start_method, preload),
            **(limits or Limits()).as_core(),
            **_options.seconds(timeouts or Timeouts()),
            **_options.queue_limits(max_queue, max_queue_bytes),
            **_options.recycle(recycle, limits or Limits()),
            **_options.idle_timeout(idle_timeout, min_workers, max_workers),
            "min_workers": least,
            "max_workers": most,
            "priority_step": _options.priority_step(priority_step),
            "max_frame": _options.MAX_FRAME,
            "max_result": _options.max_result(limits or Limits()),
            "package": os.path.dirname(os.path.abspath(__file__)),
            "env": _options.environment(env),
            "env_pass": list(config.ENVIRONMENT_ALLOWED),
            "cwd": None if cwd is None else os.path.abspath(os.fspath(cwd)),
            "drop_output": int(output == "drop"),
        }
        if output not in ("forward", "drop"):
            raise ValueError(f"output={output!r}: 'forward' or 'drop' is needed")
        if cwd is not None and not os.path.isdir(cwd):
            raise FileNotFoundError(f"cwd={os.fspath(cwd)!r}: there is no such directory")
        self._least, self._most = least, most
        self._chunk_max = (recycle or Recycle()).chunk_max
        self._task_timeout = (timeouts or Timeouts()).task
        self._counts_output = limits is not None and limits.output is not None
        self._own_limits = _options.own_limits(limits or Limits())
        self._owner = os.getpid()
        self._host_types = _host_types(target)
        try:
            core = _core.Pool(**options, events=self._delivery.started())
        except BaseException:
            self._delivery.stop()
            del self._delivery  # the error's traceback holds this frame: give the queue back now
            raise
        self._core = core
        super().__init__(self)
        self._closed = False
        _open_pools.add(self)

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
        result_type: object = None,
    ) -> Calls:
        """The same calls with other options.

        timeout, queue_timeout: seconds that a call may run, and wait (None: no limit). deadline: a
        moment of `time.monotonic()` by which it has ended, waiting and running together; the
        earliest limit counts. priority, -100 to 100: higher is served first, and each step
        outweighs one second of waiting (Pool(priority_step=)), so that nothing waits for ever.
        memory, cpu_time, output, result_size: as in Limits, for these calls; memory and result_size
        at most the pool's. result_type: a type that msgspec turns the result into, on the host.
        """
        if timeout is not False:
            config.check_seconds(timeout, "timeout")
        if queue_timeout is not False:
            config.check_seconds(queue_timeout, "queue_timeout")
        return Calls(
            self,
            timeout,
            queue_timeout,
            result_type,
            _options.rare(
                priority, deadline, memory, cpu_time, output, result_size, self._own_limits
            ),
        )

    def stats(self) -> dict[str, int]:
        """Counters since the pool was opened, and how many workers and calls there are now."""
        return self._core.stats()

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
                self._delivery.stop()
                aio.sweep()

    def _result_type(self, function: str) -> object:
        return self._host_types.get(function)

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
        hint = mapping.result_hint(function)
        if hint is not None:
            types[name] = hint
    return types


def _close_all() -> None:
    """At exit: nothing of ours may ask for the GIL once the interpreter goes."""
    for pool in list(_open_pools):
        if pool._owner != os.getpid():
            continue  # a forked child's copy: the parent's is open
        warnings.warn(f"unclosed {pool!r}", ResourceWarning, source=pool, stacklevel=2)
        pool.close(0)


def _after_fork() -> None:
    for pool in list(_open_pools):
        pool._core.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
