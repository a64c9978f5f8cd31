"""What `@pyproc.isolated` needs in the host: one pool for each set of options, opened by the
first call. All functions may be called from any thread.

The pools live in this module because a decorated function has nobody who would close one; they end
at exit, with those of executors (`_running.py`).
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from pyproc import _running, _tasks, aio, broken, config
from pyproc import sandbox as sandboxes
from pyproc._running import TaskFuture, Work
from pyproc._tasks import Failed
from pyproc.calls import Calls
from pyproc.config import Timeouts
from pyproc.executor import _check_options, _recycle, _runner
from pyproc.target import RUN

_policies: dict[Any, Policy] = {}
_lock = threading.Lock()


class Shared(Work):
    """The pool of one policy, and what was submitted to it."""

    failure: BaseException | None = None  # of the last try to open the pool

    def ready(self) -> Calls:
        """Its calls; opens the pool, and waits for that. Raises why it cannot be opened."""
        with self.changed:
            self.check()
            while self.calls is None:
                if self.opener is None:
                    self.failure = None
                    self.start_opening()
                self.changed.wait()
                if self.calls is None and self.opener is None:
                    failure = self.failure or broken.ShutDown("the shared pool was closed")
                    raise broken.of(broken.copied(failure))
            return self.calls

    def _cannot_open(self, error: BaseException) -> None:
        with self.changed:
            self.failure = error
        super()._cannot_open(error)

    def finish(self) -> None:
        """At exit: what was submitted is done. A call of a thread that nobody waits for is not."""
        if self.pool is not None:
            self.pool.close(0)
        _running.closed(self)


class Policy:
    """One set of options. Its pool is made anew in a forked child, and after `close`."""

    def __init__(self, options: dict[str, Any], results: Any) -> None:
        self.options = options
        self.results = results
        self.lock = threading.Lock()
        self.work: Shared | None = None

    def current(self) -> Shared:
        """The pool that takes calls now."""
        with self.lock:
            if self.work is None:
                self.work = Shared(_runner(None, (), self.results), self.options)
            return self.work

    def close(self) -> None:
        """Ends it, if it was opened."""
        with self.lock:
            work, self.work = self.work, None
        if work is not None:
            work.stop()


class Caller:
    """One decorated function's way to its pool."""

    def __init__(self, named: Any, function: Callable[..., Any], options: dict[str, Any]) -> None:
        # Found by name in a worker it is the decorated one, which there just runs the function.
        self._target = named if named._is_reachable() else function
        self._place = _tasks.place_of(function)
        self.name = _tasks.name_of(function)
        self._timeout = options["timeout"]
        self._policy = _policy_of(options)
        self._pickles = options["results"] == "pickle"
        self.hint = None if self._pickles else _tasks.result_type(function)
        self._calls: tuple[Calls, Calls] | None = None  # the pool's, and with our options
        self._signature = _signature(function)

    def task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _tasks.Task:
        """The call, pickled. Wrong arguments are refused here, as a call of the function would."""
        if self._signature is not None:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}(): {error}") from None
        is_exact = self.hint is None and not self._pickles
        return _tasks.make(self._target, args, kwargs, is_exact, self._place)

    def with_options(self, base: Calls) -> Calls:
        """The pool's calls with the function's own options."""
        made = self._calls
        if made is None or made[0] is not base:
            made = (base, base._pool.options(timeout=self._timeout, result_type=self.hint))
            self._calls = made
        return made[1]

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Blocks."""
        task = self.task(args, kwargs)
        work = self._policy.current()
        calls = self.with_options(work.calls or work.ready())
        try:
            value = calls.call(RUN, task)
        except Exception as error:
            self._raise(work, error)
        return self._opened(value)

    async def acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """On the caller's loop."""
        task = self.task(args, kwargs)
        work = self._policy.current()
        base = work.calls
        if base is None:
            base = await aio.in_thread(work.ready)
        try:
            value = await self.with_options(base).acall(RUN, task)
        except Exception as error:
            self._raise(work, error)
        return self._opened(value)

    def _raise(self, work: Shared, error: Exception) -> NoReturn:
        """Raises it as the function's user should see it."""
        shown = _running.shown(work, error, self.name)
        if shown is error:
            raise error
        raise shown from shown.__cause__

    def _opened(self, value: Any) -> Any:
        if self._pickles:
            value = _tasks.opened(value)
            if isinstance(value, Failed):
                raise value.error
        return value

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskFuture:
        """Queued."""
        work = self._policy.current()
        work.check()
        future = _SharedFuture(work, None, self.hint, self.name)
        future.caller = self
        try:
            future._task = self.task(args, kwargs)
        except Exception as error:
            future.refuse(error.with_traceback(None))
        else:
            work.admit(future)
        return future

    def close(self) -> None:
        """Of all functions with these options."""
        self._policy.close()


class _SharedFuture(TaskFuture):
    caller: Caller

    def launch(self, calls: Calls) -> None:
        super().launch(self.caller.with_options(calls))


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def check(options: dict[str, Any]) -> None:
    """Raises what is wrong with a decorator's options."""
    config.check_seconds(options["timeout"], "timeout")
    if options["results"] not in ("safe", "pickle"):
        raise ValueError(f"results={options['results']!r}: 'safe' or 'pickle' is needed")
    _check_options({**_pool_options(options), "workers": options["max_workers"]})


def _pool_options(options: dict[str, Any]) -> dict[str, Any]:
    most = options["max_workers"]
    return {
        "min_workers": 1,
        "max_workers": config.usable_cpus() if most is None else most,
        "limits": options["limits"],
        "timeouts": Timeouts(start=None),
        "recycle": _recycle(None, options["recycle"]),
        "sandbox": options["sandbox"],
        "env": options["env"],
        "cwd": options["cwd"],
        "preload": list(options["preload"]),
        "start_method": options["start_method"],
        "output": options["output"],
    }


def _policy_of(options: dict[str, Any]) -> Policy:
    env = options["env"]
    key = (
        options["results"],
        options["max_workers"],
        options["limits"],
        options["recycle"],
        sandboxes.of(options["sandbox"]),
        None if env is None else frozenset(env.items()),
        None if options["cwd"] is None else os.path.abspath(os.fspath(options["cwd"])),
        options["preload"],
        options["start_method"],
        options["output"],
    )
    with _lock:
        policy = _policies.get(key)
        if policy is None:
            policy = _policies[key] = Policy(_pool_options(options), options["results"])
        return policy


def _after_fork() -> None:
    """In a child: the parent's pools are not ours, and its locks may be held."""
    global _lock
    _lock = threading.Lock()
    for policy in list(_policies.values()):
        policy.lock = threading.Lock()
        policy.work = None


os.register_at_fork(after_in_child=_after_fork)
