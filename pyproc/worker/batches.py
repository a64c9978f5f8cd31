"""Functions that take several calls at once: their calls are gathered here, in the worker.

A call's arguments are checked alone and its answer is its own, so a bad one harms no other. One
that is cancelled before its batch starts never gets into it. On the worker's event loop.
"""

from __future__ import annotations

import contextvars
import functools
from typing import Any

from pyproc.worker.checks import Plan
from pyproc.worker.registry import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pyproc.worker.shared import Running, Side

_LISTS = ("list", "tuple", "Sequence", "Iterable", "Collection")


class Batched:
    """The function as a single call sees it, which comes to it where a call has its worker alone:
    in chunks, with limits of its own, or from the Go project's pool."""

    def __init__(self, name: str, function: Callable[..., Any], batch: Batch) -> None:
        self.name = self.__name__ = name
        self.function = function
        self.batch = batch
        self.plan: Plan | None = None  # set once it is made

    def __call__(self, *items: Any, **named: Any) -> Any:
        made = self.function([self.item(items, named)])
        return self._later(made) if type(made).__name__ == "coroutine" else self._only(made)

    def item(self, items: tuple[Any, ...], named: Any = ()) -> Any:
        """What one call brings."""
        every = [*items, *(named.values() if named else ())]
        if len(every) != 1:
            raise TypeError(f"{self.name}() takes one item a call, {len(every)} were given")
        return every[0]

    async def _later(self, coroutine: Any) -> Any:
        return self._only(await coroutine)

    def _only(self, made: Any) -> Any:
        result = self.results(made, 1)[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def results(self, made: Any, count: int) -> list[Any] | tuple[Any, ...]:
        """What the function has answered, one for each item. TypeError, ValueError: it has not."""
        if type(made) not in (list, tuple):
            raise TypeError(
                f"{self.name}() takes batches and must answer a list with one result for each "
                f"item, not {type(made).__name__}"
            )
        if len(made) != count:
            raise ValueError(
                f"{self.name}() was given {count} items and answered {len(made)}: a function that "
                f"takes batches must answer one result for each item, in their order"
            )
        return made  # type: ignore[no-any-return]

    def as_core(self) -> tuple[int, int]:
        """How many at most, and how many microseconds the first one waits."""
        return self.batch.max_size, int(self.batch.max_wait * 1e6)


def gathers(plan: Plan, batch: Batch) -> None:
    """Makes the plan one for single items of a function that takes a list of them."""
    names = plan.positional + plan.keyword_only
    if len(names) != 1 or plan.rest or plan.keywords or plan.kind in (2, 3):
        raise TypeError(
            f"{plan.name}() is exposed with a batch: it must take one parameter, the list of "
            f"items, and return a list"
        )
    annotations = plan.annotations if not _has_text(plan) else _resolved(plan)
    plan.annotations = {
        name: _item_of(plan.name, name, annotations[name])
        for name in (*names, "return")
        if name in annotations
    }
    batched = Batched(plan.name, plan.function, batch)
    plan.batch, plan.function, batched.plan = batched, batched, plan
    plan.positional, plan.keyword_only, plan.plain = names, (), False


def _has_text(plan: Plan) -> bool:
    return any(isinstance(hint, str) for hint in plan.annotations.values())


def _resolved(plan: Plan) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(plan.function, include_extras=True)


def _item_of(function: str, name: str, hint: Any) -> Any:
    origin = getattr(hint, "__origin__", hint)
    arguments = getattr(hint, "__args__", ())
    if getattr(origin, "__name__", "") not in _LISTS:
        raise TypeError(
            f"{function}() is exposed with a batch, so its {name!r} is a list of items and must be "
            f"annotated as list[...], not {hint!r}"
        )
    return arguments[0] if arguments else Any


class Gathering:
    """Calls of one function that wait for their batch."""

    def __init__(self, side: Side, batched: Batched) -> None:
        self._side = side
        self._batched = batched
        self._waiting: list[tuple[Running, tuple[Any, ...], Any]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Running, entry: tuple[Any, ...], item: Any) -> None:
        """The call goes into the next batch."""
        self._waiting.append((call, entry, item))
        batch, loop = self._batched.batch, self._side.loop
        if len(self._waiting) >= batch.max_size:
            self._cut()
        elif self._timer is None:
            self._timer = loop.call_later(batch.max_wait, self._cut)

    def drop(self, call: Running) -> None:
        """It is not wanted any more."""
        self._waiting = [one for one in self._waiting if one[0] is not call]
        if not self._waiting:
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._stop_timer()
        calls, self._waiting = self._waiting, []
        # Not at once: a cancel that has come already is read before.
        self._side.loop.call_soon(self._start, calls)

    def _start(self, calls: list[tuple[Running, tuple[Any, ...], Any]]) -> None:
        calls = [one for one in calls if self._side.has(one[0])]
        if not calls:
            return
        own = contextvars.copy_context()
        try:
            made = own.run(self._batched.function, [item for _, _, item in calls])
        except BaseException as raised:
            self._fail(calls, raised)
            return
        if type(made).__name__ != "coroutine":
            self._answer(calls, made)
            return
        task = self._side.loop.create_task(made, context=own)
        task.add_done_callback(functools.partial(self._ended, calls))

    def _ended(
        self, calls: list[tuple[Running, tuple[Any, ...], Any]], task: asyncio.Task[Any]
    ) -> None:
        try:
            made = task.result()
        except BaseException as raised:
            self._fail(calls, raised)
        else:
            self._answer(calls, made)

    def _answer(self, calls: list[tuple[Running, tuple[Any, ...], Any]], made: Any) -> None:
        try:
            results = self._batched.results(made, len(calls))
        except (TypeError, ValueError) as wrong:
            self._fail(calls, wrong)
            return
        for (call, entry, _), result in zip(calls, results, strict=True):
            if not self._side.has(call):
                continue  # it was cancelled meanwhile
            if isinstance(result, BaseException):
                self._side.fail(call, result)
            else:
                self._side.answer(call, entry, result)

    def _fail(
        self, calls: list[tuple[Running, tuple[Any, ...], Any]], raised: BaseException
    ) -> None:
        for call, _, _ in calls:
            if self._side.has(call):
                self._side.fail(call, raised)
