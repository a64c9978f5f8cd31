"""How a function is called with a request's body, and how its end becomes an answer.

A function of one parameter gets the body as it came, as in the Go project's own workers. One of
several gets the fields of the body, which is then an object. Annotations are checked as in a
pool's worker. A parameter `cancel_event` gets a threading.Event that is set when the caller has
given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pyproc.worker import checks

CANCEL = "cancel_event"


class Request:
    """A request that is being worked on. `cancel` may be called by any thread."""

    def __init__(self, number: int, method: str) -> None:
        self.number = number
        self.method = method
        self.cancelled = False
        self._event: threading.Event | None = None
        self._lock = threading.Lock()

    def event(self) -> threading.Event:
        """Set once the caller has given up."""
        with self._lock:
            if self._event is None:
                self._event = threading.Event()
                if self.cancelled:
                    self._event.set()
            return self._event

    def cancel(self) -> None:
        """The caller has given up."""
        with self._lock:
            self.cancelled = True
            if self._event is not None:
                self._event.set()


class Entry:
    """One exposed function. Any thread may call."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        own = getattr(function, "plan", None)  # of one that takes batches
        self._plan = own if isinstance(own, checks.Plan) else checks.Plan(name, function)
        self._function = function
        plan = self._plan
        positional = tuple(one for one in plan.positional if one != CANCEL)
        named = tuple(one for one in plan.keyword_only if one != CANCEL)
        self._cancels = CANCEL in (*plan.positional, *plan.keyword_only)
        self._whole = len(positional) == 1 and not named and plan.keywords is None
        self._whole = self._whole or (plan.rest is not None and not positional and not named)
        self._one = self._whole and not self._cancels
        checked = {key for key in plan.annotations if key not in (CANCEL, "return")}
        self._checks = any(plan.checks(key) for key in checked)
        self._checks_result = plan.checks("return")

    def call(self, request: Request, body: Any) -> Any:
        """The function's result; its exceptions pass."""
        if self._one and not self._checks:
            value = self._function(body)
        else:
            value = self._call(request, body)
        if self._checks_result or type(value).__name__ in _KINDS:
            value = _result(self._plan, value)
        return value

    def _call(self, request: Request, body: Any) -> Any:
        values, keywords = self._arguments(body)
        if self._checks:
            values = self._plan.arguments(values, keywords)
        count = len(values) - len(keywords)
        named = dict(zip(keywords, values[count:], strict=True))
        if self._cancels:
            named[CANCEL] = request.event()
        return self._function(*values[:count], **named)

    def _arguments(self, body: Any) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        if self._whole:
            return (body,), ()
        if body is None:
            return (), ()
        if not isinstance(body, dict):
            raise TypeError(
                f"{self.name}() has several parameters: the body must be an object with their "
                f"names, not a {type(body).__name__}"
            )
        if CANCEL in body:
            raise TypeError(f"{CANCEL} is not the caller's to give")
        return tuple(body.values()), tuple(body)


_KINDS = ("coroutine", "generator", "async_generator")
_runners = threading.local()


def _result(plan: checks.Plan, value: Any) -> Any:
    """Awaited, checked; each thread has an event loop of its own."""
    if type(value).__name__ == "coroutine":
        import asyncio

        runner: asyncio.Runner | None = getattr(_runners, "runner", None)
        if runner is None:
            runner = _runners.runner = asyncio.Runner()
        value = runner.run(value)
    return plan.result(value)


def close_thread() -> None:
    """Ends the event loop of the calling thread, if it ever had one."""
    runner = getattr(_runners, "runner", None)
    if runner is not None:
        del _runners.runner
        runner.close()
