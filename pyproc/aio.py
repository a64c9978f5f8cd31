"""asyncio: queued calls that end on the event loop itself, without a thread in between.

Each loop that calls has a queue of its own and watches its descriptor; an end settles the
asyncio future on the loop's thread. Cancelling the awaiting task stops the work.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyproc import _core
from pyproc.codec import decode_value, encode_arguments
from pyproc.delivery import deliver
from pyproc.errors import QueueFull, RemoteError

if TYPE_CHECKING:
    from pyproc.pool import Calls


class _LoopQueue:
    """One event loop's queue; the loop's thread only. The loop, as its reader, alone keeps it:
    so it goes when the loop closes, whatever still waits in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue = _core.Queue()
        loop.add_reader(self.queue.fileno(), self._drain)

    def _drain(self) -> None:
        for item in self.queue.take():
            deliver(item)


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ReferenceType[_LoopQueue]] = (
    weakref.WeakKeyDictionary()
)


def _queue_of(loop: asyncio.AbstractEventLoop) -> _core.Queue:
    known = _queues.get(loop)
    entry = None if known is None else known()
    if entry is None:
        entry = _LoopQueue(loop)
        _queues[loop] = weakref.ref(entry)
    return entry.queue


async def call(calls: Calls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Calls.acall`."""
    loop = asyncio.get_running_loop()
    payload, codec, keywords = encode_arguments(args, kwargs)
    ended: asyncio.Future[tuple[int, bytes]] = loop.create_future()
    # The core keeps `settle` until the call ends; the loop may be gone long before.
    awaited = weakref.ref(ended)

    def settle(exception: BaseException | None, codec: int, payload: bytes, _: int) -> None:
        ended = awaited()
        if ended is None or ended.done():
            return  # cancelled meanwhile
        if exception is None:
            ended.set_result((codec, payload))
        elif isinstance(exception, StopIteration):  # an asyncio future refuses to carry it
            ended.set_exception(RemoteError("StopIteration", str(exception), ""))
        else:
            ended.set_exception(exception)

    delay = 0.001
    while True:  # a full queue is waited for without holding the loop
        try:
            call_id = calls._core.submit(
                function, payload, codec, keywords, calls._run, calls._queue,
                _queue_of(loop), settle, 0, False,
            )  # fmt: skip
            break
        except QueueFull:
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.05)
    try:
        got_codec, got = await ended
    except asyncio.CancelledError:
        calls._core.cancel(call_id, True)
        raise
    return decode_value(got, got_codec, calls._result_type(function))


async def map_ordered(
    calls: Calls, function: str, iterable: Iterable[Any], buffersize: int
) -> AsyncIterator[Any]:
    """Results in order, at most `buffersize` calls ahead."""
    if buffersize < 1:
        raise ValueError(f"buffersize={buffersize}: 1 or more is needed")
    tasks: deque[asyncio.Task[Any]] = deque()
    source = iter(iterable)
    try:
        for item in source:
            tasks.append(asyncio.ensure_future(call(calls, function, (item,), {})))
            if len(tasks) >= buffersize:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Runs what may block beside the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
