"""`@pyproc.isolated`: one function whose calls run in a worker process.

Modules with such functions are imported by workers, too, where the function is just called. So
this file is cheap to import; what the host needs comes with the first call (`_shared.py`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from pyproc.worker import registry

if TYPE_CHECKING:
    import concurrent.futures
    import os

    from pyproc._shared import Caller
    from pyproc.config import Limits, Recycle
    from pyproc.future import Future
    from pyproc.pool import Output, StartMethod
    from pyproc.sandbox import Sandbox

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:

    class Submitted(Future, concurrent.futures.Future[T]):
        """The future of such a call."""

        def result(self, timeout: float | None = None) -> T: ...


_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200  # as in the module inspect


class _Base(Generic[P, T]):
    """What both kinds share."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(cast(Any, self), function)
        #: The function itself, which runs in this process.
        self.local: Callable[..., Any] = function
        self._options = options
        self._caller: Caller | None = None

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Submitted[T]:
        """Queues the call and answers its future at once; `kill()` stops work that runs."""
        return cast("Submitted[T]", self._remote().submit(args, kwargs))

    def close(self) -> None:
        """Ends the workers of all functions with the same options; what they still run is killed.

        The next call starts new ones. At exit this is done by itself, when what was submitted has
        ended.
        """
        self._remote().close()

    def _remote(self) -> Caller:
        if self._caller is None:
            from pyproc._shared import Caller

            self._caller = Caller(self, self.local, self._options)
        return self._caller

    def _is_reachable(self) -> bool:
        """Whether a worker finds this object by its name."""
        module = getattr(self, "__module__", None)
        if module is None or module == "__main__":
            return False
        found: Any = sys.modules.get(module)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return found is self

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str

    def __set_name__(self, owner: type, name: str) -> None:
        if self.__qualname__ == f"{owner.__qualname__}.{name}":
            raise TypeError(
                f"isolated: {self.__qualname__}() is a method, and its object lives in this "
                "process: decorate a function, or write @staticmethod above @isolated"
            )

    def __reduce__(self) -> Any:
        if self._is_reachable():
            return self.__qualname__
        return type(self), (self.local, self._options)

    def __repr__(self) -> str:
        return f"<pyproc.isolated {self.__module__}.{self.__qualname__}>"


class Isolated(_Base[P, T]):
    """A function whose calls run in a worker; what `@pyproc.isolated` makes. Any thread."""

    if TYPE_CHECKING:
        local: Callable[P, T]

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls it in a worker and answers its result; blocks, ^C stops the work. Raises what the
        function raises and, as `Pool.call`, WorkerDied, TaskTimeout and so on."""
        if registry.serving:  # we are in a worker already
            return self.local(*args, **kwargs)
        return cast(T, self._remote().call(args, kwargs))

    async def acall(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for asyncio: cancelling the awaiting task stops the work."""
        if registry.serving:
            return self.local(*args, **kwargs)
        return cast(T, await self._remote().acall(args, kwargs))


class AsyncIsolated(_Base[P, T]):
    """The same of an `async def` function: a call must be awaited."""

    if TYPE_CHECKING:
        local: Callable[P, Coroutine[Any, Any, T]]

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls it in a worker; cancelling the awaiting task stops the work."""
        if registry.serving:
            return await self.local(*args, **kwargs)
        return cast(T, await self._remote().acall(args, kwargs))

    async def acall(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As the call itself."""
        return await self(*args, **kwargs)


class _Decorator:
    """What `isolated(...)` with options answers."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncIsolated[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Isolated[P, T]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        return _decorate(function, self._options)


@overload
def isolated(  # type: ignore[overload-overlap]
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> AsyncIsolated[P, T]: ...
@overload
def isolated(function: Callable[P, T], /) -> Isolated[P, T]: ...
@overload
def isolated(
    *,
    timeout: float | None = None,
    sandbox: str | Sandbox = "none",
    limits: Limits | None = None,
    recycle: Recycle | None = None,
    max_workers: int | None = None,
    results: Literal["safe", "pickle"] = "safe",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    preload: tuple[str, ...] = (),
    start_method: StartMethod = "auto",
    output: Output = "forward",
) -> _Decorator: ...
def isolated(
    function: Any = None,
    /,
    *,
    timeout: float | None = None,
    sandbox: str | Sandbox = "none",
    limits: Limits | None = None,
    recycle: Recycle | None = None,
    max_workers: int | None = None,
    results: Literal["safe", "pickle"] = "safe",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    preload: tuple[str, ...] = (),
    start_method: StartMethod = "auto",
    output: Output = "forward",
) -> Any:
    """Runs one function in worker processes; a decorator, with or without options.

    The first call starts the workers. Functions with the same options (but `timeout`) share them.
    They end with the program, once what was submitted has ended; a forked child starts its own.

    timeout: seconds that a call may run. max_workers: how many at most (default: usable CPUs);
    one stays, those above leave after 10 idle seconds. The others are as for Executor: what goes to
    a worker is pickled, functions of the main script or a notebook by value with cloudpickle, and
    what comes back is data unless results="pickle".

    `fn(x)` blocks, `await fn.acall(x)`, `fn.submit(x)` answers a future, `fn.local(x)` runs here.
    An `async def` function stays one: `await fn(x)`. In a worker the function is just called.
    TypeError, ValueError: an option or a function that cannot be had; some with the first call.
    """
    options = {
        "timeout": timeout,
        "sandbox": sandbox,
        "limits": limits,
        "recycle": recycle,
        "max_workers": max_workers,
        "results": results,
        "env": None if env is None else dict(env),
        "cwd": cwd,
        "preload": (preload,) if isinstance(preload, str) else tuple(preload),
        "start_method": start_method,
        "output": output,
    }
    if not registry.serving:
        from pyproc._shared import check

        check(options)
    return _Decorator(options) if function is None else _decorate(function, options)


def _decorate(function: Any, options: dict[str, Any]) -> Any:
    if isinstance(function, _Base):
        raise TypeError(f"isolated: {function.__qualname__}() is isolated already")
    if isinstance(function, type) or not callable(function) or not hasattr(function, "__name__"):
        raise TypeError(f"isolated: a function is needed, not {function!r}")
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & (_GENERATOR | _ASYNC_GENERATOR):
        raise TypeError(
            f"isolated: {function.__qualname__}() is a generator function: expose it in an App and "
            "use Pool.stream"
        )
    kind = AsyncIsolated if flags & _COROUTINE else Isolated
    return kind(function, options)
