"""Async calls that run side by side on the worker's event loop.

The loop reads the call channel itself: a call becomes a task, a cancel cancels it, and each is
answered when it ends, in any order. It ends when no call is left; the C loop then waits for more.
Each task has a context of its own, by which `pyproc.current()`, progress and log records know
their call. Main thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from typing import Any

from pyproc import _worker
from pyproc.worker import context, tasks
from pyproc.worker.batches import Gathering

_running: contextvars.ContextVar[Running | None] = contextvars.ContextVar("_running", default=None)


class Running(context.Current):
    """One of the calls; what `current()` answers in it, and in tasks and threads that it starts."""

    def __init__(self, worker: _worker.Worker, call_id: int, function: str, ends: int) -> None:
        self._worker = worker
        self.call_id = call_id
        self.function = function
        self.deadline = context.moment(ends)
        self.why = context.SOFT_NONE  # why it is to stop
        self.task: asyncio.Task[Any] | None = None
        self.children: set[asyncio.Task[Any]] = set()
        self.gathering: Gathering | None = None  # where it waits, or waited, for a batch

    def cancelled(self) -> bool:
        """As of any call."""
        return self.why != context.SOFT_NONE


def of_this_context() -> Running | None:
    """The call that the running code belongs to; None: it is none of these."""
    return _running.get()


def _task_of(loop: asyncio.AbstractEventLoop, coroutine: Any, **others: Any) -> asyncio.Future[Any]:
    """For the loop: a task, which ends at the latest with the call that has made it."""
    task = asyncio.Task(coroutine, loop=loop, **others)
    call = _running.get()
    if call is not None:
        call.children.add(task)
        task.add_done_callback(call.children.discard)
    return task


class Side:
    """The calls that are on the loop just now."""

    def __init__(self, worker: _worker.Worker, enter: Callable[[bytes], list[Any]]) -> None:
        self._worker = worker
        self._enter = enter
        self._calls: dict[int, Running] = {}
        self._gatherings: dict[str, Gathering] = {}
        self.loop: asyncio.AbstractEventLoop = tasks.loop()
        self.loop.set_task_factory(_task_of)
        self._quiet: asyncio.Future[None] = self.loop.create_future()
        self._broken: ConnectionError | None = None
        context.beside = of_this_context

    def serve(self, first: tuple[Any, ...]) -> None:
        """Returns when no call is left, or raises ConnectionError when the host is gone."""
        fd = self._worker.call_fd()
        self.loop.add_reader(fd, self._read)
        os.set_blocking(fd, True)  # uvloop has changed that, and the C loop waits by reading
        try:
            self._begin(*first)
            self._read()  # what came with the first one is here already
            while self._calls:  # in the loop's last step more may have come
                self._quiet = self.loop.create_future()
                self._run()
            if self._broken is not None:
                raise self._broken
        finally:
            self.loop.remove_reader(fd)

    def _run(self) -> None:
        while not self._quiet.done():
            try:
                self.loop.run_until_complete(self._quiet)
            except (SystemExit, KeyboardInterrupt):
                pass  # of a task, which tells its caller

    def _read(self) -> None:
        try:
            while (message := self._worker.share_take()) is not None:
                if len(message) == 2:
                    self._cancel(*message)
                else:
                    self._begin(*message)
        except ConnectionError as error:
            self._break(error)

    def _break(self, error: ConnectionError) -> None:
        for call in list(self._calls.values()):
            if call.task is not None:
                call.task.cancel()
        self._calls.clear()
        self._broken = error
        if not self._quiet.done():
            self._quiet.set_result(None)

    def _begin(
        self,
        number: int,
        entry: tuple[Any, ...],
        name: str,
        values: tuple[Any, ...],
        keywords: tuple[str, ...],
        ends: int,
        baggage: bytes,
    ) -> None:
        call = Running(self._worker, number, name, ends)
        own = contextvars.copy_context()
        self._calls[number] = call
        if entry[-1].batch is not None:
            self._gather(call, entry, values)
            return
        try:
            made = own.run(self._start, call, entry[0], values, keywords, baggage)
        except BaseException as raised:
            self.fail(call, raised)
            return
        if type(made).__name__ != "coroutine":
            self.answer(call, entry, made)
            return
        call.task = self.loop.create_task(made, context=own)
        call.task.add_done_callback(functools.partial(self._ended, call, entry))

    def _gather(self, call: Running, entry: tuple[Any, ...], values: tuple[Any, ...]) -> None:
        batched = entry[-1].batch
        call.gathering = self._gatherings.get(call.function)
        if call.gathering is None:
            call.gathering = self._gatherings[call.function] = Gathering(self, batched)
        try:
            item = batched.item(values)
        except TypeError as wrong:
            self.fail(call, wrong)
            return
        call.gathering.add(call, entry, item)

    def has(self, call: Running) -> bool:
        """Whether the call has no answer yet."""
        return call.call_id in self._calls

    def _start(
        self,
        call: Running,
        function: Any,
        values: tuple[Any, ...],
        keywords: tuple[str, ...],
        baggage: bytes,
    ) -> Any:
        _running.set(call)
        if baggage:
            self._enter(baggage)
        if not keywords:
            return function(*values)
        first = len(values) - len(keywords)
        return function(*values[:first], **dict(zip(keywords, values[first:], strict=True)))

    def _cancel(self, number: int, timeout: bool) -> None:
        call = self._calls.get(number)
        if call is None or call.why != context.SOFT_NONE:
            return  # it has ended meanwhile
        call.why = context.SOFT_TIMEOUT if timeout else context.SOFT_CANCEL
        if call.task is None:
            if call.gathering is not None:
                call.gathering.drop(call)
            self.fail(call, context.stopped(call.why))
            return
        call.task.cancel()

    def _ended(self, call: Running, entry: tuple[Any, ...], task: asyncio.Task[Any]) -> None:
        if call.children:
            for child in call.children:
                child.cancel()
            left = asyncio.gather(*call.children, return_exceptions=True)
            left.add_done_callback(lambda _: self._settle(call, entry, task))
        else:
            self._settle(call, entry, task)

    def _settle(self, call: Running, entry: tuple[Any, ...], task: asyncio.Task[Any]) -> None:
        if not self.has(call):
            return  # nobody waits for it any more
        raised: BaseException | None
        try:
            raised = task.exception()
        except asyncio.CancelledError as cancelled:
            raised = cancelled if call.why == context.SOFT_NONE else context.stopped(call.why)
        if raised is None:
            self.answer(call, entry, task.result())
        else:
            self.fail(call, raised)

    def answer(self, call: Running, entry: tuple[Any, ...], value: Any) -> None:
        """The call has ended with that result."""
        self._send(call, self._worker.share_answer, call.call_id, entry, value)

    def fail(self, call: Running, raised: BaseException) -> None:
        """It has ended with that exception."""
        self._send(call, self._worker.share_fail, call.call_id, raised)

    def _send(self, call: Running, send: Callable[..., bool], *what: Any) -> None:
        self._calls.pop(call.call_id, None)
        call.task = None
        try:
            if send(*what):
                self.loop.call_soon(self._read)  # the socket does not say so any more
        except ConnectionError as error:
            self._break(error)
            return
        if not self._calls and not self._quiet.done():
            self._quiet.set_result(None)
