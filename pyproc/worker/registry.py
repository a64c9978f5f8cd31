"""`App` and `expose`: which functions a worker offers.

An application module is imported by the host as well as by each worker, so this file is cheap
to import and starts nothing. An App is filled while its module is imported, by one thread.
"""

from __future__ import annotations

import sys

from pyproc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])
else:

    def overload(function: object) -> None:
        """Only a type checker looks at these."""


NAME_MAX = 255
BATCH_MAX = 1000
_WAIT_MAX = 3600

#: True in a worker that a pool started.
serving = False
#: Whether the running call's result may only be what comes back as it is: an Executor's.
exact = False


class Batch:
    """How calls of one function are put together: `expose(batch=Batch(max_size, max_wait))`.

    max_size: calls that the function gets at most at once, 1 to 1000. max_wait: seconds that the
    first of them waits for others, 0 to 3600; with 0 only those go together that are there already.
    """

    __slots__ = ("max_size", "max_wait")

    def __init__(self, max_size: int = 32, max_wait: float = 0.01) -> None:
        if isinstance(max_size, bool) or not isinstance(max_size, int):
            raise TypeError(f"Batch(max_size={max_size!r}): an int is needed")
        if not 1 <= max_size <= BATCH_MAX:
            raise ValueError(f"Batch(max_size={max_size}): from 1 to {BATCH_MAX} are possible")
        if isinstance(max_wait, bool) or not isinstance(max_wait, int | float):
            raise TypeError(f"Batch(max_wait={max_wait!r}): seconds are needed")
        if not 0 <= max_wait <= _WAIT_MAX:
            raise ValueError(f"Batch(max_wait={max_wait}): from 0 to {_WAIT_MAX} s are possible")
        self.max_size = max_size
        self.max_wait = max_wait

    def __repr__(self) -> str:
        return f"Batch(max_size={self.max_size}, max_wait={self.max_wait:g})"


class App:
    """A set of functions that a pool's workers may run, and what to do at their start.

    `@app.expose` adds a function under its own name, `@app.expose(name="other")` under another;
    `@app.on_start` adds a hook that each worker runs once, after the import and before the first
    call. Give the App itself to `Pool`, or name it: "module:app".

    `module` and `file` say where it was made.
    """

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}
        self._batches: dict[str, Batch] = {}
        self._start_hooks: list[Callable[[], Any]] = []
        self._stop_hooks: list[Callable[[], Any]] = []
        self._warmup_hooks: list[Callable[[], Any]] = []
        where = _caller(self)
        self.module: str = str(where.get("__name__") or "__main__")
        self.file: str | None = where.get("__file__")

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The exposed functions by name; not to be changed."""
        from types import MappingProxyType

        return MappingProxyType(self._functions)

    @property
    def batches(self) -> Mapping[str, Batch]:
        """Of the functions that take batches, by name; not to be changed."""
        from types import MappingProxyType

        return MappingProxyType(self._batches)

    @property
    def start_hooks(self) -> tuple[Callable[[], Any], ...]:
        """The hooks in the order in which they run."""
        return tuple(self._start_hooks)

    @overload
    def expose(self, function: F, /, *, name: str | None = None) -> F: ...
    @overload
    def expose(  # noqa: F811
        self, /, *, name: str | None = None, batch: Batch | None = None
    ) -> Callable[[F], F]: ...
    def expose(  # noqa: F811
        self, function: Any = None, /, *, name: str | None = None, batch: Batch | None = None
    ) -> Any:
        """Offers a function to the host; a decorator, with or without arguments.

        batch: the function takes a list of what several calls were given, and answers a list.
        Of a class it offers objects that live in a worker: `Pool.actor`. What is offered stays as
        it is. TypeError: it cannot be called. ValueError: the name
        is empty, too long, or taken by another function.
        """
        if name is not None:
            _check_name(name)
        if function is None:
            return lambda decorated: self._add(decorated, name, batch)
        return self._add(function, name, batch)

    def on_start(self, hook: F, /) -> F:
        """Has each worker run `hook()` before its first call; a decorator."""
        if not callable(hook):
            raise TypeError(f"@app.on_start needs a function, not {_kind(hook)}")
        self._start_hooks.append(hook)
        return hook

    @property
    def stop_hooks(self) -> tuple[Callable[[], Any], ...]:
        """The stop hooks in the order in which they were added; the last one runs first."""
        return tuple(self._stop_hooks)

    def on_stop(self, hook: F, /) -> F:
        """Has each worker run `hook()` when it leaves by itself; a decorator.

        It leaves so when it is recycled, was idle for too long, or its pool is closed, and has one
        second for all of this. The last hook added runs first; one that fails is reported on
        stderr, and the others run. A worker that is killed or crashes runs none.
        """
        if not callable(hook):
            raise TypeError(f"@app.on_stop needs a function, not {_kind(hook)}")
        self._stop_hooks.append(hook)
        return hook

    @property
    def warmup_hooks(self) -> tuple[Callable[[], Any], ...]:
        """The warm-up hooks in the order in which they run."""
        return tuple(self._warmup_hooks)

    def on_warmup(self, hook: F, /) -> F:
        """Runs `hook()` once after the import, before workers are forked; a decorator.

        For what all workers may share: models, caches, compiled patterns. Not for connections,
        open files or threads, which a fork cannot share: those belong into `on_start`. Where
        workers are not forked, each runs it, before its start hooks.
        """
        if not callable(hook):
            raise TypeError(f"@app.on_warmup needs a function, not {_kind(hook)}")
        self._warmup_hooks.append(hook)
        return hook

    def _add(self, function: Any, name: str | None, batch: Batch | None = None) -> Any:
        if batch is not None and not isinstance(batch, Batch):
            raise TypeError(f"expose(batch=) needs a pyproc.Batch, not {_kind(batch)}")
        if isinstance(function, str):
            raise TypeError(f"to choose a name write @app.expose(name={function!r})")
        if not callable(function):
            raise TypeError(f"only a function can be exposed, not {_kind(function)}")
        if name is None:
            name = getattr(function, "__name__", None)
            if not isinstance(name, str) or name == "<lambda>":
                raise ValueError(
                    f"{_kind(function)} has no name to be called by: use expose(name=...)"
                )
            _check_name(name)
        if isinstance(function, type):
            from pyproc.worker import hosting

            if batch is not None:
                raise TypeError("expose(batch=) is for functions, not for a class")
            hosting.expose(self, function, name)
            return function
        self._put(function, name)
        if batch is None:
            self._batches.pop(name, None)
        else:
            self._batches[name] = batch
        return function

    def _put(self, function: Any, name: str) -> None:
        taken = self._functions.get(name)
        if taken is not None and taken is not function and not _is_notebook(function, taken):
            raise ValueError(
                f"there is already a function exposed as {name!r} ({_place(taken)}): "
                f"give one of them another name with expose(name=...)"
            )
        self._functions[name] = function

    def __repr__(self) -> str:
        return f"<pyproc.App of {self.module} with {len(self._functions)} functions>"


def _caller(app: App) -> dict[str, Any]:
    """The globals of whoever makes the App, which need not call App.__init__ itself."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name == "__init__":
        if frame.f_locals.get("self") is not app:
            break
        frame = frame.f_back
    return frame.f_globals


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a function's name must be a str, not {_kind(name)}")
    if not name or not name.isprintable():
        raise ValueError(f"a function cannot be exposed as {name!r}: the name must be visible text")
    if len(name.encode("utf-8")) > NAME_MAX:
        raise ValueError(f"a function's name may have {NAME_MAX} bytes, not more")


def _is_notebook(function: Any, taken: Any) -> bool:
    """A cell that is run again defines its function again; that is no mistake."""
    module = getattr(function, "__module__", None)
    return module == "__main__" and getattr(taken, "__module__", None) == module


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _place(function: Any) -> str:
    module = getattr(function, "__module__", "?")
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
    return f"{module}, line {line}" if line else str(module)


#: Where `pyproc.expose` puts functions: for scripts that have no App of their own.
default = App()
expose = default.expose


def run_worker(
    app: App | None = None,
    *,
    socket_path: str | None = None,
    sandbox: Any = None,
    limits: Any = None,
) -> None:
    """Ends a script that exposes functions; in a pool's worker it does nothing.

    Started by the Go project's pool (PYPROC_SOCKET_PATH is set, or `socket_path` given) it serves
    the functions of `app`, or those of the script, until its host is gone: docs/go-pool.md. It
    does not return then. sandbox, limits: a profile or Sandbox, and Limits, there; else those of
    PYPROC_SANDBOX and PYPROC_LIMITS_*. A sandbox runs the script a second time, inside. Elsewhere
    there is nobody to serve: `pyproc.Error`.
    """
    if serving:
        return
    import os

    if socket_path is None and not os.environ.get("PYPROC_SOCKET_PATH"):
        raise Error(
            "run_worker() serves only inside a pool's worker: open one with "
            'pyproc.Pool("this_file.py") in another program and call the functions from there. '
            "Workers of the Go project's pool find PYPROC_SOCKET_PATH in their environment"
        )
    from pyproc.gopool.run import prepare, script_app, serve

    file = getattr(sys.modules["__main__"], "__file__", None)
    settings, confined = prepare(socket_path, file, sandbox, limits)
    serve(script_app() if app is None else app, settings, confined)
