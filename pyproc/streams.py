"""Streams: the items of a generator function, as its worker makes them.

The worker runs ahead of the reader by a credit of items and bytes, so memory is bounded at both
ends; items travel in batches whose size is what gathers while the reader is busy. Whatever ends
the reading (a break, close(), an exception, a cancelled task, garbage collection) closes the
generator in the worker, whose `finally` runs there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pyproc import _core
from pyproc._hints import item_type
from pyproc.bars import Progress, received
from pyproc.codec import convert, decode_items
from pyproc.errors import (
    Error,
    PoolClosed,
    QueueFull,
    RemoteError,
    TaskKilled,
    TaskTimeout,
    ValidationError,
)
from pyproc.files import NO_FILES, encode_call
from pyproc.identity import identity_of
from pyproc.resilience import is_failure

if TYPE_CHECKING:
    from pyproc.calls import Calls

#: Bytes of items that a worker may be ahead of its reader.
AHEAD_BYTES = 2**20
#: Items, unless options(buffersize=) says otherwise.
AHEAD_ITEMS = 4096
_POLL_MS = 1000
_END, _ITEMS = 0, 4  # kinds of a queue's items


class Inbox:
    """What has come for a stream: filled by whoever takes the queue, emptied by the reader.

    The core holds it as the token of an async stream until the call's end; it holds no stream.
    """

    def __init__(self, core: _core.Pool) -> None:
        self.core = core
        self.id = 0
        self.batches: deque[tuple[int, bytes, int]] = deque()
        self.ended = False
        self.error: BaseException | None = None
        self.closed = False
        self.waiter: asyncio.Future[None] | None = None
        self.on_progress: Callable[[Progress], object] | None = None

    def take(self, item: tuple[Any, ...]) -> None:
        """An item of the queue."""
        if item[0] == _ITEMS:
            if not self.closed:
                self.batches.append(item[2:5])
            self._wake()
        elif item[0] == _END:
            self(*item[2:6])
        elif self.on_progress is not None and not self.closed:
            try:
                self.on_progress(received(item))
            except Exception:  # it does not end the stream
                logging.getLogger("pyproc").exception("on_progress failed")

    def __call__(self, error: BaseException | None, _codec: int, _payload: bytes, _n: int) -> None:
        self.ended, self.error = True, error
        self._wake()

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def leave(self) -> None:
        """Nobody reads on. Any thread."""
        if self.id and not self.closed and not self.ended:
            self.closed = True
            self.batches.clear()
            self.core.stream_close(self.id)


class _Reading:
    """What a stream of either kind has: the request, the items at hand, the credit."""

    def __init__(
        self, calls: Calls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if "result_size" in (calls._rare or {}):
            raise ValueError("options(result_size=) is for calls: an item has the pool's limit")
        self._inbox = Inbox(calls._core)
        self._inbox.on_progress = calls.on_progress
        self._calls = calls
        self._function = function
        self._encoded, self._files = encode_call(args, kwargs, calls._parcel())
        self._type = item_type(calls._result_type(function), calls._type is not None)
        self._ahead = calls._streaming.get("stream_items", AHEAD_ITEMS)
        self._ready: deque[Any] = deque()
        self._taken = self._taken_bytes = 0  # given to the reader
        self._owner = os.getpid()

    def _options(self) -> dict[str, Any]:
        return {
            "stream_items": AHEAD_ITEMS, "stream_bytes": AHEAD_BYTES,
            **self._calls._streaming, **(self._calls._rare or {}),
            **({} if self._calls.on_progress is None else {"progress": True}),
        }  # fmt: skip

    def _submit(self, queue: _core.Queue, token: Inbox | None, wait_for_room: bool) -> None:
        """Queues the call; then its files belong to the core."""
        calls, inbox = self._calls, self._inbox
        calls._pool._delivery.started()
        payload, codec, keywords = self._encoded
        request = (self._function, payload, codec, keywords, calls._run, calls._queue)
        options = self._options()
        if self._files is NO_FILES:
            inbox.id = calls._core.submit(*request, options, queue, token, 0, wait_for_room)
        else:
            given, rare = self._files.give(options, False)
            with given:
                inbox.id = calls._core.submit(*request, rare, queue, token, 0, wait_for_room)
                given.taken()
        self._files.close()

    def _admit(self) -> None:
        guard = self._calls._guard
        if guard.hot:
            guard.admit(self._function, self._identity(), self._calls.key)

    def _identity(self) -> bytes:
        return identity_of(self._encoded)

    def _unpack(self) -> None:
        """The oldest batch becomes the items at hand. An error ends the stream."""
        codec, payload, count = self._inbox.batches.popleft()
        self._taken += count
        self._taken_bytes += len(payload)
        try:
            values = decode_items(payload, codec, count)
            if self._type is not None:
                values = self._convert(values, self._taken - count)
        except BaseException:
            self._inbox.leave()
            raise
        self._ready.extend(values)

    def _convert(self, values: list[Any], first: int) -> list[Any]:
        try:
            return list(convert(values, list[self._type], "items"))  # type: ignore[name-defined]
        except ValidationError:  # some item does not fit: that one is named
            return [
                convert(value, self._type, f"item {first + at}") for at, value in enumerate(values)
            ]

    def _ask(self) -> None:
        """The reader has nothing left: more credit, and what there is at once."""
        inbox = self._inbox
        goes_on = inbox.core.stream_more(
            inbox.id, self._taken + self._ahead, self._taken_bytes + AHEAD_BYTES, True
        )
        if not goes_on and os.getpid() != self._owner:
            raise PoolClosed(
                "the pool belongs to the process that forked: open one in this process"
            )

    def _end(self) -> BaseException | None:
        """Why the stream has ended, told once."""
        error, self._inbox.error = self._inbox.error, None
        guard = self._calls._guard
        if error is None:
            if guard.hot:
                guard.ended_well(self._function)
            return None
        if is_failure(error) or guard.hot:
            guard.ended_badly(self._function, self._identity(), error)
        if isinstance(error, TaskTimeout) and "item_timeout" in self._calls._streaming:
            seconds = self._calls._streaming["item_timeout"]
            error.add_note(f"options(item_timeout={seconds}) is the time of a single item")
        if isinstance(error, StopIteration | StopAsyncIteration):  # it would look like the end
            return RemoteError(type(error).__name__, str(error), "")
        return error

    def _close_error(self) -> BaseException | None:
        """What close() raises: not that it was closed."""
        error = self._end()
        not_started = isinstance(error, TaskKilled) and error.pid is None
        return None if not_started or isinstance(error, PoolClosed) else error

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of one whose arguments were refused, of a fork
            self._files.close()
            self._inbox.leave()

    def __repr__(self) -> str:
        state = "ended" if self._inbox.ended else "closed" if self._inbox.closed else "open"
        return f"<pyproc stream of {self._function!r}, {state}>"


class Stream(_Reading, Iterator[Any]):
    """The iterator that `Pool.stream` answers; also a context manager. One thread at a time.

    The call begins with the first item that is asked for, or with `with`. Items that came before
    an error are yielded before it is raised. `close()` ends the generator in the worker.
    """

    def __init__(self, *request: Any) -> None:
        super().__init__(*request)
        self._queue: _core.Queue | None = None

    def __next__(self) -> Any:
        if self._ready:
            return self._ready.popleft()
        return self._next()

    def _next(self) -> Any:
        inbox = self._inbox
        queue = self._started()
        while not self._ready:
            if inbox.batches:
                self._unpack()
            elif inbox.closed:
                raise StopIteration
            elif inbox.ended:
                error = self._end()
                if error is None:
                    raise StopIteration
                self._calls._pool._delivery.catch_up()
                raise error
            else:
                self._ask()
                self._take(queue)
        return self._ready.popleft()

    def _take(self, queue: _core.Queue) -> None:
        try:
            for item in queue.poll(_POLL_MS):
                self._inbox.take(item)
        except BaseException:  # ^C: its traceback may hold this stream, and so a worker, for long
            self._inbox.leave()
            raise

    def _started(self) -> _core.Queue:
        if self._queue is None:
            self._admit()
            queue = _core.Queue()
            if not self._inbox.closed:
                # No token: this stream may be gone when the end comes, and then nobody takes it.
                self._submit(queue, None, True)
            self._queue = queue
        return self._queue

    def close(self) -> None:
        """Closes the generator and waits until its `finally` has run; raises what that raised.

        A generator that takes longer than a second, and the pool's grace, is killed with its
        worker: TaskKilled. Closing twice, or after the end, does nothing.
        """
        inbox = self._inbox
        self._files.close()
        self._ready.clear()
        inbox.leave()
        inbox.closed = True
        inbox.batches.clear()
        if self._queue is None or os.getpid() != self._owner:
            return
        while not inbox.ended:
            for item in self._queue.poll(_POLL_MS):
                inbox.take(item)
        error = self._close_error()
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(Error, Exception):  # what ends the block says more
            self.close()


class AsyncStream(_Reading, AsyncIterator[Any]):
    """The async iterator that `Pool.astream` answers; also for `async with`. One task at a time.

    As `Stream`. Cancelling the task that waits for an item closes the stream.
    """

    def __init__(self, *request: Any) -> None:
        super().__init__(*request)
        self._is_started = False

    async def __anext__(self) -> Any:
        if self._ready:
            return self._ready.popleft()
        return await self._next()

    async def _next(self) -> Any:
        inbox = self._inbox
        await self._start()
        while not self._ready:
            if inbox.batches:
                self._unpack()
            elif inbox.closed:
                raise StopAsyncIteration
            elif inbox.ended:
                error = self._end()
                if error is None:
                    raise StopAsyncIteration
                from pyproc.aio import catch_up

                await catch_up(self._calls._pool._delivery)
                raise error
            else:
                self._ask()
                await self._wait()
        return self._ready.popleft()

    async def _wait(self) -> None:
        inbox = self._inbox
        inbox.waiter = asyncio.get_running_loop().create_future()
        try:
            await inbox.waiter
        except asyncio.CancelledError:
            inbox.leave()
            raise
        finally:
            inbox.waiter = None

    async def _start(self) -> None:
        if self._is_started:
            return
        self._is_started = True
        if self._inbox.closed:
            return
        from pyproc.aio import queue_of

        self._admit()
        entry = queue_of(asyncio.get_running_loop())
        delay = 0.001
        while not self._inbox.id:  # a full queue is waited for without holding the loop
            try:
                self._submit(entry.queue, self._inbox, False)
            except QueueFull:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 0.05)
        entry.waiters.add(self._inbox)

    async def aclose(self) -> None:
        """As `Stream.close`."""
        inbox = self._inbox
        self._files.close()
        self._ready.clear()
        inbox.leave()
        inbox.closed = True
        inbox.batches.clear()
        if not inbox.id or os.getpid() != self._owner:
            return
        while not inbox.ended:
            await self._wait()
        error = self._close_error()
        if error is not None:
            raise error

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.aclose()
            return
        with contextlib.suppress(Error, Exception):  # what ends the block says more
            await self.aclose()
