"""map: items in chunks through the pool, lazily, each item with an end of its own.

Chunks are queued calls; their ends come from the delivery thread through a SimpleQueue and are
looked at on the thread that iterates. A worker's death costs the one item it was at: answers
made before it are kept, the items behind it go into a new chunk.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pyproc.bars import reporter
from pyproc.codec import convert, decode_many, decode_value, encode_arguments, encode_items
from pyproc.codec import payload_size as size_of
from pyproc.errors import (
    CodecError,
    CPUTimeExceeded,
    Error,
    ItemFailure,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    ProtocolError,
    ResultTooLarge,
    TaskKilled,
    TaskTimeout,
    WorkerDied,
)
from pyproc.identity import identity

if TYPE_CHECKING:
    from pyproc.calls import Calls
    from pyproc.codec import Payload

CHUNK_SECONDS = 0.010  # an auto chunk should take about this long
CHUNK_BYTES = 2**20  # and neither its items nor their results be much larger than this
CHUNK_MAX = 4096
#: Ends that concern the item a worker was at; every other end concerns the whole chunk.
ONE_ITEM = (
    WorkerDied, TaskKilled, ProtocolError, ResultTooLarge, MemoryLimitExceeded, CPUTimeExceeded,
    OutputLimitExceeded,
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The options of one map."""

    buffersize: int | None
    chunksize: int | Literal["auto"]
    ordered: bool
    return_exceptions: bool
    progress: Callable[[int, int | None], object] | bool | str | None
    timeout: float | None

    def check(self) -> None:
        """Refuses what cannot be meant, naming the option."""
        from pyproc.config import check_seconds

        if self.buffersize is not None and (
            not isinstance(self.buffersize, int) or self.buffersize < 1
        ):
            raise ValueError(f"buffersize={self.buffersize!r}: 1 or more, or None, is needed")
        if self.chunksize != "auto" and (
            not isinstance(self.chunksize, int) or not 1 <= self.chunksize <= 1_000_000
        ):
            raise ValueError(f"chunksize={self.chunksize!r}: 1 to 1000000, or 'auto', is needed")
        if not (self.progress in (None, True, False, "tqdm", "rich") or callable(self.progress)):
            raise ValueError(f"progress={self.progress!r}: True, 'tqdm', 'rich' or a function")
        check_seconds(self.timeout, "timeout")


class _Chunk:
    """Items that travel together. The iterating thread's, but for the call's end."""

    def __init__(self, count: int) -> None:
        self.ready: deque[Any] = deque()  # results and exceptions of the first items
        self.left = count  # items without an end
        self.sent = 0.0
        self.size = 0  # bytes of the payload
        self.attempts = 1  # at the first item without an end
        self.id = 0
        self.core: Any = None  # whose id it is: another one's after a fork


class Mapping(Iterator[Any]):
    """The iterator that `Pool.map` answers. One thread at a time; close() stops the work."""

    def __init__(
        self, calls: Calls, function: str, iterable: Iterable[Any], options: Options
    ) -> None:
        self._calls = calls
        self._function = function
        self._source = iter(iterable)
        self._options = options
        self._type = calls._result_type(function)
        self._is_shared = calls._core.shares(function) if calls._shares else 0  # how many
        self._ends: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._chunks: deque[_Chunk] = deque()  # in order of their items
        self._waiting: dict[int, tuple[_Chunk, list[Any]]] = {}
        self._serial = itertools.count()
        self._total = _length(iterable)
        self._read = self._done = self._out = 0
        self._exhausted = False
        self._broken: Exception | None = None  # what the input raised; its turn comes last
        self._item_seconds: float | None = None
        self._item_bytes = 1.0
        self._report, self._finish = reporter(options.progress, self._total)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            value = self._next()
        except BaseException:
            self.close()
            raise
        if isinstance(value, _Failed):
            if self._options.return_exceptions:
                return value.exception
            if not self._chunks and self._exhausted:
                self.close()
            raise value.exception
        return value

    def close(self) -> None:
        """Stops reading input and ends what is under way."""
        self._exhausted = True
        waiting, self._waiting = self._waiting, {}
        for chunk, _ in waiting.values():
            if chunk.core is not None:
                chunk.core.cancel(chunk.id, True)
        self._chunks.clear()
        self._broken = None
        self._finish()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of one whose options were refused, or of a fork
            self.close()

    def _next(self) -> Any:
        deadline = None
        if self._options.timeout is not None:
            deadline = time.monotonic() + self._options.timeout
        while True:
            chunk = self._first_ready()
            if chunk is not None:
                return self._take(chunk)
            self._fill()
            if self._first_ready() is not None:
                continue  # it could not even be sent
            if self._chunks:
                self._await(deadline)
            elif self._broken is not None:
                raise self._broken
            else:
                raise StopIteration

    def _first_ready(self) -> _Chunk | None:
        if self._options.ordered:
            return self._chunks[0] if self._chunks and self._chunks[0].ready else None
        return next((chunk for chunk in self._chunks if chunk.ready), None)

    def _take(self, chunk: _Chunk) -> Any:
        value = chunk.ready.popleft()
        self._out -= 1
        if not chunk.ready and not chunk.left:
            self._chunks.remove(chunk)
        self._done += 1
        if self._report is not None:
            self._report(self._done, self._total)
        if not chunk.ready:
            self._fill()
        return value

    # ---- sending ----

    def _ahead(self) -> int:
        pool = self._calls._pool
        return pool._most * max(2 * self._is_shared, 4)

    def _fill(self) -> None:
        while not self._exhausted and len(self._waiting) < self._ahead():
            size = self._size()
            if size < 1:
                return
            items = self._take_input(size)
            first = self._read
            self._read += len(items)
            self._out += len(items)
            if items:
                self._add(items, first)

    def _take_input(self, size: int) -> list[Any]:
        """The next items; fewer at the end. Those read before the input raised go out too."""
        items: list[Any] = []
        try:
            items.extend(itertools.islice(self._source, size))
        except Exception as error:
            self._broken = error
        if len(items) < size:
            self._exhausted = True
        return items

    def _add(self, items: list[Any], first: int) -> None:
        """A chunk of its own for `items`; when it cannot go as a whole, its halves, in order."""
        chunk = _Chunk(len(items))
        guard = self._calls._guard
        if guard.hot and not (len(items) > 1 and guard.refuses):
            try:
                request = identity((items[0],), {}) if guard.refuses else None
                guard.admit(self._function, request, self._calls.key, patient=True)
            except Error as error:
                self._settle(chunk, [_Failed(error)] * len(items))
                self._chunks.append(chunk)
                return
        elif guard.hot:  # some item may be in quarantine
            for at, item in enumerate(items):
                self._add([item], first + at)
            return
        try:
            self._send(chunk, items, first)
        except (CodecError, ResultTooLarge) as error:
            if len(items) > 1:
                half = len(items) // 2
                self._add(items[:half], first)
                self._add(items[half:], first + half)
                return
            self._settle(chunk, [_Failed(error)])
        self._chunks.append(chunk)

    def _size(self) -> int:
        """Items of the next chunk; 0 when enough of them are out."""
        asked = self._options.chunksize
        size = self._auto_size() if asked == "auto" else asked
        if self._has_deadline() or self._calls._guard.is_rated or self._is_shared:
            size = 1  # the time limit is an item's, not a chunk's
        most = self._calls._pool._chunk_max
        if most is not None:
            size = min(size, most)  # a chunk goes to one worker whole
        if self._options.buffersize is not None:
            size = min(size, self._options.buffersize - self._out)
        elif self._out >= 4 * CHUNK_MAX * self._calls._pool._most:
            return 0
        return size

    def _has_deadline(self) -> bool:
        run = self._calls._run
        if self._calls._rare and not {"deadline", "output", "result_size"}.isdisjoint(
            self._calls._rare
        ):
            return True
        if self._calls._pool._counts_output:
            return True
        return self._calls._pool._task_timeout is not None if run is False else run is not None

    def _auto_size(self) -> int:
        if self._item_seconds is None:
            return 1
        size = int(CHUNK_SECONDS / max(self._item_seconds, 1e-9))
        size = min(size, int(CHUNK_BYTES / self._item_bytes))
        if self._options.buffersize is not None:  # all workers shall have some of it
            size = min(size, self._options.buffersize // (2 * self._calls._pool._most))
        if self._total is not None:
            left = self._total - self._read
            size = min(size, -(-left // (2 * self._calls._pool._most)))
        return max(1, min(size, CHUNK_MAX))

    def _send(self, chunk: _Chunk, items: list[Any], first: int = 0) -> None:
        files = self._calls._parcel(files=False)
        if self._is_shared:
            payload, codec, _ = encode_arguments((items[0],), {}, files)
        else:
            payload, codec = encode_items(items, first, files)
        serial = next(self._serial)
        self._waiting[serial] = (chunk, items)
        chunk.sent = time.perf_counter()
        chunk.size = len(payload) + files.size
        ends = self._ends
        try:
            chunk.id = self._calls.submit_raw(
                self._function, payload, codec, 0 if self._is_shared else len(items),
                lambda *end: ends.put((serial, *end)), files=files,
            )  # fmt: skip
            chunk.core = self._calls._core
        except BaseException:
            self._waiting.pop(serial, None)
            files.close()
            raise

    def _pause(self, chunk: _Chunk, error: BaseException) -> float | None:
        calls = self._calls
        if not calls._retries:
            return None
        return calls._guard.may_retry(calls._retry, chunk.attempts, error)

    def _send_rest(self, chunk: _Chunk, rest: list[Any]) -> None:
        try:
            self._send(chunk, rest)
        except CodecError as error:  # somebody has changed an item since
            self._settle(chunk, [_Failed(error)] * len(rest))

    # ---- ends ----

    def _await(self, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            end = self._ends.get(timeout=left)
        except queue.Empty:
            raise TimeoutError(f"no result of {self._function!r} came in time") from None
        self._end(*end)
        while not self._ends.empty():
            self._end(*self._ends.get())

    def _end(
        self, serial: int, exception: BaseException | None, codec: int, payload: Payload, count: int
    ) -> None:
        entry = self._waiting.pop(serial, None)
        if entry is None:
            return  # of a map that was closed
        chunk, items = entry
        try:
            values = [self._value(v) for v in self._decode(exception, codec, payload, count)]
        except CodecError as error:  # nothing of what the worker sent can be believed
            self._settle(chunk, [_Failed(error)] * len(items))
            return
        if exception is None:
            if self._calls._guard.hot:
                self._calls._guard.ended_well(self._function)
            spent = (time.perf_counter() - chunk.sent) / max(1, len(items))
            before = self._item_seconds
            self._item_seconds = spent if before is None else min(before, (before + spent) / 2)
            self._item_bytes = max(1.0, max(chunk.size, size_of(payload)) / len(items))
            self._settle(chunk, values)
            return
        rest = items[len(values) :]
        if not rest:  # all were answered before its worker ended: that costs none of them
            self._settle(chunk, values)
            return
        timed_out = isinstance(exception, TaskTimeout) and exception.stage == "run"
        if isinstance(exception, ONE_ITEM) or timed_out:
            guard = self._calls._guard
            guard.ended_badly(self._function, identity((rest[0],), {}), exception)
            if values:
                chunk.attempts = 1
            pause = self._pause(chunk, exception)
            if pause is not None:
                chunk.attempts += 1
                time.sleep(pause)
                self._settle(chunk, values)
                self._send_rest(chunk, rest)
                return
            chunk.attempts = 1
            values.append(_Failed(exception))
            rest = rest[1:]
            self._settle(chunk, values)
            if rest:
                self._send_rest(chunk, rest)
        else:
            self._settle(chunk, values + [_Failed(exception)] * len(rest))

    def _decode(
        self, exception: BaseException | None, codec: int, payload: Payload, count: int
    ) -> list[Any]:
        if self._is_shared:
            return [] if exception is not None else [decode_value(payload, codec)]
        return decode_many(payload, codec, count) if count else []

    def _value(self, value: Any) -> Any:
        if isinstance(value, ItemFailure):
            return _Failed(value.exception())
        if self._type is None:
            return value
        try:
            return convert(value, self._type, "result")
        except Exception as error:
            return _Failed(error)

    def _settle(self, chunk: _Chunk, values: list[Any]) -> None:
        chunk.ready.extend(values)
        chunk.left -= len(values)


@dataclass(frozen=True)
class _Failed:
    exception: BaseException


def _length(iterable: object) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None
