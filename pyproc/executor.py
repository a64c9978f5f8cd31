"""Executor: concurrent.futures' interface over a pool.

A function is pickled for its worker, so nothing has to be exposed. What comes back is data, unless
the user chose otherwise.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import signal
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from pyproc import _options, _running, _tasks, config
from pyproc import sandbox as sandboxes
from pyproc._running import ChunkFuture, TaskFuture, Work
from pyproc._tasks import Failed
from pyproc.config import Limits, Recycle, Timeouts
from pyproc.worker.executing import Runner

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from pyproc.events import Event
    from pyproc.pool import Output, StartMethod
    from pyproc.sandbox import Sandbox

P = ParamSpec("P")
T = TypeVar("T")
Results = Literal["safe", "pickle"]

_executors: weakref.WeakSet[Executor] = weakref.WeakSet()


class Executor(concurrent.futures.Executor):
    """Runs any function in worker processes; a concurrent.futures.Executor.

    A crash, a kill or a hang costs the one call it happened to; the executor goes on.

    max_workers: how many at most (default: usable CPUs), started when they are needed.
    mp_context: taken for compatibility; "spawn" and "forkserver" contexts say what is done anyway,
        "fork" is refused, since workers have nothing of this process's memory.
    initializer, initargs: run in each worker before its first call. When it raises, calls end with
        BrokenExecutor and no more are taken.
    max_tasks_per_child: calls after which a worker is replaced by a fresh one.
    results: "safe" (default): results and exceptions come back as data, and nothing that a worker
        sent is ever unpickled. Plain data, what `docs/values.md` names, and the dataclasses,
        Structs, Enums and named tuples that the function's result annotation names. "pickle":
        anything that can be pickled, and exceptions as themselves. A worker then can run code in
        this process: only for functions that you would run here.
    sandbox: "none" by default, other than Pool's, so that a program works as before after its
        import was changed. Even
        with results="safe" this is no boundary against hostile code: the worker runs as the same
        user. Choose "baseline" or "strict" for that.
    env: variables added to all of this process's, which workers have as in the standard library;
        with a sandbox, to the scrubbed ones of Pool.
    limits, timeouts, recycle, cwd, preload, start_method, output, on_event: as for Pool. Without
        timeouts there is no limit, also none for the start.

    Functions that can be imported go by name; lambdas, closures and functions of the main script or
    a notebook by value, when cloudpickle is installed. The main script is never run again and needs
    no `if __name__ == "__main__"`.

    The first submit starts the first worker, on a thread of its own. Calls that were submitted are
    done even when the executor is dropped, or the program ends; a second ^C ends the wait for them.
    Any thread may use it. After a fork the child's copy starts workers of its own.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        results: Results = "safe",
        sandbox: str | Sandbox = "none",
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        recycle: Recycle | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        preload: Iterable[str] = (),
        start_method: StartMethod = "auto",
        output: Output = "forward",
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = config.usable_cpus()
        elif isinstance(max_workers, int) and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if results not in ("safe", "pickle"):
            raise ValueError(f"results={results!r}: 'safe' or 'pickle' is needed")
        _check_context(mp_context)
        preload = list(preload) if not isinstance(preload, str) else preload
        options = {
            "workers": max_workers,
            "limits": limits,
            "timeouts": timeouts or Timeouts(start=None),
            "recycle": _recycle(max_tasks_per_child, recycle),
            "sandbox": sandbox,
            "env": dict(env) if env is not None else None,
            "cwd": cwd,
            "preload": preload,
            "start_method": start_method,
            "output": output,
            "on_event": on_event,
        }
        _check_options(options)
        self._max_workers = max_workers
        self._work = Work(_runner(initializer, initargs, results), options)
        self._is_exact = results == "safe"
        self._finalizer = weakref.finalize(self, _leave, self._work)
        self._finalizer.atexit = False  # finish_all does it there
        _executors.add(self)

    @property
    def _broken(self) -> bool:
        return self._work.broken is not None

    if TYPE_CHECKING:

        class _Typed(TaskFuture, concurrent.futures.Future[T]):
            def result(self, timeout: float | None = None) -> T: ...

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Executor._Typed[T]:
        """Queues `fn(*args, **kwargs)` and answers its future; any thread.

        Waits for room in a queue of 256 MiB. RuntimeError: the executor was shut down;
        BrokenExecutor: its initializer failed. What pickling raises is the future's exception.
        """
        work = self._work
        work.check()
        hint = _tasks.result_type(fn) if self._is_exact else None
        future = TaskFuture(work, None, hint, _tasks.name_of(fn))
        try:
            future._task = _tasks.make(fn, args, kwargs, hint is None and self._is_exact)
        except Exception as error:
            future.refuse(error.with_traceback(None))
        else:
            work.admit(future)
        return cast("Executor._Typed[T]", future)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """`map(fn, *iterables)`, in order; the work begins at once.

        timeout: seconds from now on until each result must be there, else TimeoutError. chunksize:
        items that travel together; "auto" for a quarter of each worker's share. An item that raises
        or kills its worker costs itself, not its chunk. buffersize: read at most so many items
        ahead of what has been taken, so that the input may be endless; None: all of it, now.
        """
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if chunksize != "auto" and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        self._work.check()
        end = None if timeout is None else time.monotonic() + timeout
        hint = _tasks.result_type(fn) if self._is_exact else None
        try:
            make = _tasks.makers(fn, hint is None and self._is_exact)
        except Exception as error:
            return _failing(error)
        items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize != "auto":
            size = chunksize
        else:
            everything = list(items) if buffersize is None else None
            count = buffersize if everything is None else len(everything)
            items = items if everything is None else iter(everything)
            size = max(1, -(-(count or 1) // (4 * self._max_workers)))
        if buffersize is not None:
            size = min(size, buffersize)
        ahead = None if buffersize is None else max(1, buffersize // size)
        tasks = map(_or_failed(make), items)
        source = _send(self._work, tasks, hint, size, _tasks.name_of(fn))
        futures = deque(itertools.islice(source, ahead))
        return _results(futures, source, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls. With `wait` returns when all have ended and every process is gone;
        ^C then kills what runs. cancel_futures: those that have not started are cancelled."""
        work = self._work
        work.close(cancel_futures)
        if wait:
            work.wait()
        else:
            work.leave()

    def kill_workers(self) -> None:
        """Kills every worker at once. Calls that have not ended end with BrokenExecutor; the
        executor is shut down."""
        self._work.stop()

    def terminate_workers(self) -> None:
        """The same, but each worker gets SIGTERM first and one second to act on it."""
        work = self._work
        work.close(False)
        pool = work.pool
        if pool is not None and not pool._closed:
            for worker in pool.workers():
                _terminate(worker.pid)
            with work.changed:
                work.changed.wait_for(lambda: not work.futures, 1.0)
        work.stop()

    def __repr__(self) -> str:
        state = "shut down" if self._work.is_closed else "open"
        return f"<pyproc.Executor {state} max_workers={self._max_workers}>"

    def __reduce__(self) -> Any:
        raise TypeError("an Executor cannot be pickled: it belongs to the process that made it")


def _or_failed(make: Callable[[tuple[Any, ...]], Any]) -> Callable[[tuple[Any, ...]], Any]:
    def task(args: tuple[Any, ...]) -> Any:
        try:
            return make(args)
        except Exception as error:
            return Failed(error.with_traceback(None))

    return task


def _send(
    work: Work, tasks: Iterator[Any], hint: object, chunksize: int, name: str
) -> Iterator[ChunkFuture]:
    while chunk := list(itertools.islice(tasks, chunksize)):
        future = ChunkFuture(work, chunk, hint, name)
        del chunk
        work.admit(future)
        yield future


def _results(
    futures: deque[ChunkFuture], source: Iterator[ChunkFuture], end: float | None
) -> Iterator[Any]:
    """The outcomes in order. Dropping it early takes back what has not started."""
    try:
        while futures:
            future = futures[0]
            outcomes = future.result(None if end is None else max(0.0, end - time.monotonic()))
            futures.popleft()
            del future
            futures.extend(itertools.islice(source, 1))
            outcomes.reverse()
            while outcomes:
                yield _last(outcomes)  # held by nobody here while the caller has it
    finally:
        for future in futures:
            future.cancel()


def _last(outcomes: list[Any]) -> Any:
    value = outcomes.pop()
    if isinstance(value, Failed):
        raise value.error
    return value


def _failing(error: Exception) -> Iterator[Any]:
    raise error
    yield


def _leave(work: Work) -> None:
    work.leave()


def _terminate(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(fd, signal.SIGTERM)
    except OSError:
        pass
    finally:
        os.close(fd)


def _runner(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...], results: Results
) -> Runner:
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    packed: list[Any] = []
    if initializer is not None:
        packed = _tasks.make(initializer, tuple(initargs), {}, False)
    authkey = b""
    if results == "pickle":
        from multiprocessing import process

        authkey = bytes(process.current_process().authkey)
    return Runner(results == "pickle", packed, authkey)


def _recycle(max_tasks: int | None, recycle: Recycle | None) -> Recycle | None:
    if max_tasks is None:
        return recycle
    if isinstance(max_tasks, bool) or not isinstance(max_tasks, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if max_tasks <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    if recycle is not None:
        raise ValueError("max_tasks_per_child= and recycle= contradict: use Recycle(max_tasks=)")
    return Recycle(max_tasks=max_tasks)


def _check_context(context: Any) -> None:
    if context is None:
        return
    method = getattr(context, "get_start_method", None)
    if method is None:
        raise TypeError(f"mp_context={context!r}: a context of multiprocessing, or None, is needed")
    if method() == "fork":
        raise ValueError(
            "mp_context: workers are not forked from this process, so that they have nothing of "
            "its memory, locks and descriptors; leave mp_context out, and hand over what they need "
            "by arguments or initializer="
        )


def _check_options(options: dict[str, Any]) -> None:
    """What Pool would refuse is refused now, not with the first call."""
    _options.worker_counts(options["workers"], None, None)
    limits = options["limits"]
    (Limits() if limits is None else limits).as_core()
    _options.seconds(options["timeouts"])
    _options.recycle(options["recycle"], limits or Limits())
    _options.environment(options["env"], None)
    _options.start(options["start_method"], options["preload"], [])
    sandboxes.of(options["sandbox"])
    if options["output"] not in ("forward", "capture", "drop"):
        raise ValueError(f"output={options['output']!r}: 'forward', 'capture' or 'drop' is needed")
    cwd = options["cwd"]
    if cwd is not None and not os.path.isdir(cwd):
        raise FileNotFoundError(f"cwd={os.fspath(cwd)!r}: there is no such directory")


def _after_fork() -> None:
    """In a child: what the parent has to do is not the child's, and its locks may be held."""
    _running.forget()
    for executor in list(_executors):
        executor._finalizer.detach()
        executor._work = executor._work.again()
        executor._finalizer = weakref.finalize(executor, _leave, executor._work)
        executor._finalizer.atexit = False


os.register_at_fork(after_in_child=_after_fork)
