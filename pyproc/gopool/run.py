"""Serving a script's functions to the Go pool, from `run_worker()` or `pyproc worker docs.py`."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from pyproc import errors
from pyproc.gopool import settings as from_outside
from pyproc.gopool.server import Server, leave, running
from pyproc.gopool.settings import Settings

if TYPE_CHECKING:
    from pyproc.config import Limits
    from pyproc.gopool.confined import Confined
    from pyproc.sandbox import Sandbox
    from pyproc.worker.registry import App

_EXIT_START, _EXIT_USAGE = 1, 2


def prepare(
    path: str | None,
    file: str | None,
    sandbox: str | Sandbox | None = None,
    limits: Limits | None = None,
) -> tuple[Settings, Confined | None]:
    """The settings. With a sandbox the process executes itself anew in here, the first time."""
    _log_to_stderr()
    try:
        return _prepared(path, file, sandbox, limits)
    except (ValueError, TypeError, OSError, errors.SandboxUnavailable) as error:
        _end(_EXIT_USAGE, str(error))


def _prepared(
    path: str | None, file: str | None, sandbox: str | Sandbox | None, limits: Limits | None
) -> tuple[Settings, Confined | None]:
    settings = from_outside.from_environment(os.environ, path)
    os.environ.pop("PYPROC_HMAC_SECRET", None)
    if not (sandbox or limits or any(map(os.environ.__contains__, _asks()))):
        return settings, None
    from pyproc.gopool import confined
    from pyproc.sandbox import of

    found = confined.resume(os.environ)
    if found is not None:
        return dataclasses.replace(settings, secret=found.secret), found
    box, bounds = confined.wanted(os.environ)
    box = box if sandbox is None else of(sandbox)
    bounds = bounds if limits is None else limits
    confined.check(box, bounds)
    confined.begin(box, bounds, file, settings.path, settings.secret)
    return settings, None  # limits alone


def _asks() -> list[str]:
    """The variables that ask for a sandbox or limits."""
    return [
        name
        for name in os.environ
        if name in ("PYPROC_SANDBOX", "PYPROC_CONFINED") or name.startswith("PYPROC_LIMITS_")
    ]


def serve(app: App, settings: Settings, confined: Confined | None) -> NoReturn:
    """Serves until the host is gone or SIGINT comes; does not return.

    Exit status 0 then, 1 when the socket cannot be had, 2 when a setting is wrong.
    """
    from pyproc.worker import checks

    try:
        functions = {name: plan.function for name, plan in checks.plans_of(app).items()}
        server = Server(functions, settings, confined)
    except (TypeError, ValueError, OSError, ModuleNotFoundError) as error:
        _end(_EXIT_USAGE, str(error))
    from pyproc.worker import context
    from pyproc.worker.run import run_hooks

    context.elsewhere = current
    run_hooks(app.warmup_hooks)
    run_hooks(app.start_hooks)
    try:
        server.run()
    except OSError as error:
        _end(_EXIT_START, str(error) if error.filename else error.strerror or str(error))
    leave(0)
    raise AssertionError("leave() has returned")


def script_app() -> App:
    """The functions of the script that runs as `__main__`."""
    from pyproc.worker import load
    from pyproc.worker.failure import Refusal

    module = sys.modules["__main__"]
    try:
        return load.only_app(module, os.path.basename(getattr(module, "__file__", None) or "this"))
    except Refusal as refusal:
        _end(_EXIT_START, str(refusal))


class Current:
    """`pyproc.current()` in a worker of the Go pool: there is no deadline, the Go side keeps it."""

    deadline: float | None = None

    def __init__(self, request: Any) -> None:
        self._request = request
        self.call_id: int = request.number
        self.function: str = request.method

    def remaining(self) -> float | None:
        """None: the Go side keeps the time."""
        return None

    def cancelled(self) -> bool:
        """Whether the caller has given up."""
        return bool(self._request.cancelled)

    def __repr__(self) -> str:
        return f"<pyproc.current() call_id={self.call_id} function={self.function!r}>"


def current() -> Current | None:
    """The call of this thread, or None."""
    request = running()
    return None if request is None else Current(request)


def main(arguments: list[str]) -> NoReturn:
    """`python -m pyproc worker TARGET`: the target as for Pool, the socket by the environment."""
    from pyproc.worker import load, registry
    from pyproc.worker.failure import Refusal

    if len(arguments) != 1 or arguments[0].startswith("-"):
        _end(_EXIT_USAGE, "say what to serve: python -m pyproc worker docs.py, or module:app")
    target = arguments[0]
    # First: nothing of the application runs before the sandbox.
    settings, confined = prepare(None, target if target.endswith(".py") else None)
    kind = load.FILE if target.endswith(".py") else load.MODULE
    kind = load.ATTRIBUTE if ":" in target and kind != load.FILE else kind
    registry.serving = True  # a run_worker() at the script's end does nothing
    if kind != load.FILE:
        sys.path.insert(0, os.getcwd())
    try:
        app = load.load(kind, os.path.abspath(target) if kind == load.FILE else target, "", ())
    except Refusal as refusal:
        _end(_EXIT_START, str(refusal))
    serve(app, settings, confined)


def _log_to_stderr() -> None:
    """Unless the script has its own logging: failures of functions must be seen."""
    if not logging.getLogger().handlers and not logging.getLogger("pyproc").handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s"))
        logging.getLogger("pyproc").addHandler(handler)


def _end(code: int, text: str) -> NoReturn:
    sys.stderr.write(f"pyproc worker: {text}\n")
    leave(code)
    raise AssertionError("leave() has returned")
