"""asyncio: queued calls that end on the event loop itself, without a thread in between.

Each loop that calls has a queue of its own and watches its descriptor; an end settles the
asyncio future on the loop's thread. Cancelling the awaiting task stops the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyproc import _core
from pyproc.bars import Progress, received
from pyproc.codec import decode_value
from pyproc.delivery import HEAR_SECONDS, Delivery, deliver
from pyproc.errors import QueueFull, RemoteError
from pyproc.files import Attachments, encode_call
from pyproc.identity import identity_of
from pyproc.resilience import is_failure

if TYPE_CHECKING:
    from pyproc.calls import Calls
    from pyproc.codec import Payload
    from pyproc.streams import Inbox


class _Waiter:
    """One call, given to the core as its token; the loop's thread only.

    The core holds it until the call's end, which may come long after the loop was closed.
    """

    __slots__ = ("core", "ended", "id", "on_progress")

    def __init__(self, core: _core.Pool, ended: asyncio.Future[tuple[int, Payload]]) -> None:
        self.core: _core.Pool | None = core  # None: nobody waits
        self.ended: asyncio.Future[tuple[int, Payload]] | None = ended
        self.id = 0
        self.on_progress: Callable[[Progress], object] | None = None

    def take(self, item: tuple[Any, ...]) -> None:
        """How far the call is."""
        if self.ended is None or self.on_progress is None:
            return
        try:
            self.on_progress(received(item))
        except Exception:  # it is no business of the other calls of the loop
            logging.getLogger("pyproc").exception("on_progress failed")

    def __call__(
        self, exception: BaseException | None, codec: int, payload: Payload, _: int
    ) -> None:
        ended, self.core, self.ended = self.ended, None, None
        if ended is None or ended.done():
            return  # cancelled meanwhile
        if exception is None:
            ended.set_result((codec, payload))
        elif isinstance(exception, StopIteration):  # an asyncio future refuses to carry it
            ended.set_exception(RemoteError("StopIteration", str(exception), ""))
        else:
            ended.set_exception(exception)

    def leave(self) -> None:
        """Stops the work unless it has ended."""
        core, self.core, self.ended = self.core, None, None
        if core is not None:
            core.cancel(self.id, True)


class LoopQueue:
    """One event loop's queue; the loop's thread only.

    Nothing but the loop's own list of readers holds it: when the loop is closed, it goes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue = _core.Queue()
        self.waiters: set[_Waiter | Inbox] = set()
        loop.add_reader(self.queue.fileno(), self._drain)

    def _drain(self) -> None:
        for item in self.queue.take():
            if item[0] == 0:  # the end of a call
                self.waiters.discard(item[1])
                deliver(item)
            else:  # items of a stream, progress of either
                item[1].take(item)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of a process that forked, or at its very end
            for waiter in self.waiters:
                waiter.leave()
            if self.waiters:
                _abandoned.append((self.queue, self.waiters))


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopQueue]] = (
    weakref.WeakKeyDictionary()
)
#: Queues of closed loops whose calls have not ended yet.
_abandoned: list[tuple[_core.Queue, set[_Waiter | Inbox]]] = []


def queue_of(loop: asyncio.AbstractEventLoop) -> LoopQueue:
    if _abandoned:
        sweep()
    known = _queues.get(loop)
    entry = known() if known is not None else None
    if entry is None:
        entry = LoopQueue(loop)
        _queues[loop] = weakref.ref(entry)
    return entry


def sweep() -> None:
    """Gives back the queues of closed loops as far as their calls have ended. Any thread."""
    for _ in range(len(_abandoned)):
        try:
            queue, waiters = _abandoned.pop(0)
        except IndexError:
            return  # another thread was faster
        waiters.difference_update([item[1] for item in queue.take() if item[0] == 0])
        if waiters:
            _abandoned.append((queue, waiters))


async def call(calls: Calls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Calls.acall`."""
    encoded, files = encode_call(args, kwargs, calls._parcel())
    with files:
        return await _call(calls, function, encoded, files)


async def _call(
    calls: Calls, function: str, encoded: tuple[bytes, int, tuple[str, ...]], files: Attachments
) -> Any:
    guard = calls._guard
    if calls._retries:
        guard.earn(calls._retry)
    for attempt in itertools.count(1):
        if guard.hot:
            guard.admit(function, identity_of(encoded), calls.key)
        try:
            value = await _call_once(calls, function, encoded, files)
        except Exception as error:
            if is_failure(error) or guard.hot:
                guard.ended_badly(function, identity_of(encoded), error)
            pause = guard.may_retry(calls._retry, attempt, error) if calls._retries else None
            if pause is None:
                raise
        else:
            if guard.hot:
                guard.ended_well(function)
            return value
        await asyncio.sleep(pause)
    raise AssertionError("counting has ended")


async def _call_once(
    calls: Calls, function: str, encoded: tuple[bytes, int, tuple[str, ...]], files: Attachments
) -> Any:
    loop = asyncio.get_running_loop()
    payload, codec, keywords = encoded
    ended: asyncio.Future[tuple[int, Payload]] = loop.create_future()
    waiter = _Waiter(calls._core, ended)
    entry = queue_of(loop)
    delay = 0.001
    waiter.on_progress = calls.on_progress
    asked = calls._rare if calls.on_progress is None else {**(calls._rare or {}), "progress": True}
    given, rare = files.give(asked, calls._retries)
    with given:
        while True:  # a full queue is waited for without holding the loop
            try:
                waiter.id = calls._core.submit(
                    function, payload, codec, keywords, calls._run, calls._queue, rare,
                    entry.queue, waiter, 0, False,
                )  # fmt: skip
                given.taken()
                break
            except QueueFull:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 0.05)
    entry.waiters.add(waiter)
    del entry  # only the loop holds it
    try:
        got_codec, got = await ended
    except Exception:
        await catch_up(calls._pool._delivery)
        raise
    finally:
        waiter.leave()
    return decode_value(got, got_codec, calls._result_type(function))


async def catch_up(delivery: Delivery) -> None:
    """Waits a little until what the worker logged before its error is in the host's loggers."""
    until = time.monotonic() + HEAR_SECONDS
    while not delivery.is_heard() and time.monotonic() < until:
        await asyncio.sleep(0.0005)


async def map_ordered(
    calls: Calls, function: str, iterable: Iterable[Any], buffersize: int
) -> AsyncGenerator[Any, None]:
    """Results in order, at most `buffersize` calls ahead."""
    tasks: deque[asyncio.Task[Any]] = deque()
    source = iter(iterable)
    broken: Exception | None = None
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # raised after the results of what the input gave
                broken = error
                break
            tasks.append(asyncio.ensure_future(call(calls, function, (item,), {})))
            if len(tasks) >= buffersize:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
        if broken is not None:
            raise broken
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Runs what may block beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
