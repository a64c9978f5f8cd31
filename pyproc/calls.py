"""Calls: the ways to call, with fixed options. Any thread.

The leased call is the fast one: nothing is looked at before it while nothing is wrong.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from pyproc import _core, aio, context, mapping
from pyproc.buffers import Parcel
from pyproc.codec import convert, decode_value, encode_arguments
from pyproc.errors import Error, QueueFull
from pyproc.files import NO_FILES, encode_call
from pyproc.future import Future
from pyproc.identity import identity
from pyproc.resilience import Guard, Retry, is_failure
from pyproc.streams import AsyncStream, Stream

if TYPE_CHECKING:
    from pyproc.actors import Actor, Restart
    from pyproc.bars import Progress
    from pyproc.files import Attachments
    from pyproc.pool import Pool

T = TypeVar("T")
_PROGRESS: dict[str, Any] = {"progress": True}


def with_progress(rare: dict[str, Any] | None) -> dict[str, Any]:
    """The options of a call whose progress somebody may ask for."""
    return _PROGRESS if rare is None else {**rare, **_PROGRESS}


class Calls:
    """The ways to call, with fixed options; what `Pool.options` answers. Any thread."""

    restart: Restart = 0  # of actors

    def __init__(
        self,
        pool: Pool,
        run: float | Literal[False] | None = False,
        queue: float | Literal[False] | None = False,
        result_type: object = None,
        rare: dict[str, Any] | None = None,
        retry: Retry | None = None,
        is_pinned: bool = False,
        key: str = "",
        streaming: dict[str, Any] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        self._pool = pool
        self._core: _core.Pool = pool._core
        reopens = getattr(pool, "_reopens", None)
        if reopens is not None and pool is not self:
            reopens.views.add(self)
        self._run = run
        self._queue = queue
        self._type = result_type
        self._guard: Guard = pool._guard
        self._retry = retry if retry is not None else pool._guard.retry
        self._retries = self._retry.max_attempts > 1
        self._carries = bool(pool._carried) and not is_pinned
        self.key = key  # what calls are counted under by Rate(by="key")
        self.on_progress = on_progress
        self._shares: bool = pool._shares
        self._streaming = streaming or {}  # options that only streams have, likewise
        self._rare = rare  # options that few calls have, by the core's names

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls `function` in a worker and answers its result; blocks, ^C works.

        Raises what the function raised (builtin types as themselves, others as RemoteError),
        ValidationError, CodecError, TaskTimeout, WorkerDied and its kinds, MemoryLimitExceeded,
        CPUTimeExceeded, WorkerStartError, ResultTooLarge, ProtocolError, TaskQuarantined,
        CircuitOpen, PoolClosed.
        """
        if self.on_progress is not None or (self._shares and self._core.shares(function) > 0):
            return self._call_watched(function, args, kwargs)
        if self._guard.hot or self._retries:
            return self._call_guarded(function, args, kwargs)
        try:
            return self._call_once(function, args, kwargs)
        except Exception as error:
            if is_failure(error):
                self._guard.ended_badly(function, identity(args, kwargs), error)
            elif self._guard.observers:
                self._guard.tell(function, error, None)
            self._pool._delivery.catch_up()  # what the worker logged is in the host's loggers
            raise

    def _call_watched(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A queued call: its progress is told by the delivery thread while this one waits, or it
        shares its worker, which a leased one never does."""
        future = self._queued(function, args, kwargs, True)
        try:
            return future.result()
        except BaseException as error:
            if not future.done():  # ^C
                future.kill()
            elif isinstance(error, Exception):
                self._pool._delivery.catch_up()
            raise

    def _call_once(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rare = self._rare_now() if self._carries else self._rare
        value = self._core.call_values(function, args, kwargs, self._run, self._queue, rare)
        if value is NotImplemented:  # the arguments are not plain
            with self._parcel() as files:
                encoded = encode_arguments(args, kwargs, files)
                rare = files.lend(rare)
                value = self._core.call(function, *encoded, self._run, self._queue, rare)
        if type(value) is tuple:  # no plain answer is one: codec and bytes
            return decode_value(value[1], value[0], self._result_type(function))
        hint = self._result_type(function)
        return value if hint is None else convert(value, hint, "result")

    def _call_guarded(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        guard = self._guard
        request = identity(args, kwargs) if guard.refuses else None
        guard.earn(self._retry)
        for attempt in itertools.count(1):
            guard.admit(function, request, self.key)
            try:
                value = self._call_once(function, args, kwargs)
            except Exception as error:
                if request is None and is_failure(error):
                    request = identity(args, kwargs)
                guard.ended_badly(function, request, error)
                pause = guard.may_retry(self._retry, attempt, error)
                if pause is None:
                    self._pool._delivery.catch_up()
                    raise
                time.sleep(pause)
            else:
                guard.ended_well(function)
                return value
        raise AssertionError("counting has ended")

    def submit(self, function: str, /, *args: Any, **kwargs: Any) -> Future:
        """Queues a call and answers its Future at once. Raises QueueFull when the queue is."""
        return self._queued(function, args, kwargs, False)

    def _queued(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], patient: bool
    ) -> Future:
        encoded, files = encode_call(args, kwargs, self._parcel())
        future = Future(self._pinned(), function, encoded, files)
        if self._retries:
            self._guard.earn(self._retry)
        if self._guard.hot:
            try:
                self._guard.admit(function, future.identity(), self.key)
            except Error as error:
                future.refuse(error)
                return future
        try:
            future.start(future._calls._submit(future, function, patient))
        except QueueFull as error:
            self._guard.tell(function, error, None)
            raise
        return future

    def _parcel(self, files: bool = True) -> Parcel:
        """For what one call carries beside its payload."""
        large: int | None = getattr(self._pool, "_large", None)  # a client has no memory to share
        return Parcel(self._core, large, digests=self._guard.refuses, files=files)

    def _submit(self, future: Future, function: str, patient: bool = False) -> int:
        payload, codec, keywords = future.encoded
        if future.files is not NO_FILES:
            return self._submit_files(future, function, patient)
        return self._core.submit(
            function, payload, codec, keywords, self._run, self._queue,
            with_progress(self._rare), self._pool._delivery.started(), future.settle, 0, patient,
        )  # fmt: skip

    def _submit_files(self, future: Future, function: str, patient: bool) -> int:
        payload, codec, keywords = future.encoded
        given, rare = future.files.give(with_progress(self._rare), self._retries)
        with given:
            number = self._core.submit(
                function, payload, codec, keywords, self._run, self._queue, rare,
                self._pool._delivery.started(), future.settle, 0, patient,
            )  # fmt: skip
            given.taken()
        return number

    def submit_raw(
        self,
        function: str,
        payload: bytes,
        codec: int,
        items: int,
        settle: Callable[..., None],
        queue: _core.Queue | None = None,
        keywords: tuple[str, ...] = (),
        files: Attachments = NO_FILES,
    ) -> int:
        """Queues a call whose end is given to `settle(exception, codec, payload, count)`."""
        if queue is None:
            queue = self._pool._delivery.started()
        given, rare = files.give(self._rare, False)
        with given:
            number = self._core.submit(
                function, payload, codec, keywords, self._run, self._queue, rare,
                queue, settle, items, True,
            )  # fmt: skip
            given.taken()
        return number

    def actor(self, name: str, /, *args: Any, **kwargs: Any) -> Actor:
        """Makes an object of an exposed class, in one worker, and answers its handle; blocks.

        Its methods are called in that worker, one at a time. options(restart=n) has it made again,
        with the same arguments, when its worker ended, n times or "always". Raises what the class
        raises, UnknownFunction for what is no exposed class, and as `call`.
        """
        from pyproc.actors import Actor

        return Actor(self, name, args, kwargs)

    async def aactor(self, name: str, /, *args: Any, **kwargs: Any) -> Actor:
        """The same for asyncio."""
        made = await aio.in_thread(functools.partial(self.actor, name, *args, **kwargs))
        return cast("Actor", made)

    async def acall(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """`call` for asyncio: cancelling the awaiting task stops the work."""
        return await aio.call(self._pinned(), function, args, kwargs)

    def map(
        self,
        function: str,
        iterable: Iterable[Any],
        /,
        *,
        buffersize: int | None = None,
        chunksize: int | Literal["auto"] = "auto",
        ordered: bool = True,
        return_exceptions: bool = False,
        progress: Callable[[int, int | None], object] | bool | str | None = None,
        timeout: float | None = None,
    ) -> mapping.Mapping:
        """Calls `function(item)` for each item and yields the results, lazily.

        The input is read as results are taken, at most `buffersize` items ahead (None: enough to
        keep the workers busy), so it may be endless. `chunksize`: items sent at a time. A failed
        item raises at its place, or is yielded with return_exceptions; the others go on. `timeout`:
        seconds to wait for one result. `progress`: called with (done, total or None), True for tqdm
        or "rich".
        """
        options = mapping.Options(
            buffersize, chunksize, ordered, return_exceptions, progress, timeout
        )
        options.check()
        return mapping.Mapping(self._pinned(), function, iterable, options)

    def amap(
        self, function: str, iterable: Iterable[Any], /, *, buffersize: int = 64
    ) -> AsyncGenerator[Any, None]:
        """`map` for asyncio, in order, at most `buffersize` items ahead; the first failure ends it.

        Leaving it early stops the work once it is closed: `async with contextlib.aclosing(...)`
        does so at once.
        """
        if not isinstance(buffersize, int) or buffersize < 1:
            raise ValueError(f"buffersize={buffersize!r}: 1 or more is needed")
        return aio.map_ordered(self._pinned(), function, iterable, buffersize)

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> Stream:
        """Calls a generator function and yields its items as they are made.

        For `for` and `with`. The call begins with the first item asked for. The worker is ahead by
        at most options(buffersize=) items (4096) and 1 MiB; a reader that is slow makes the
        generator wait. A timeout is for the whole stream, options(item_timeout=) for each item.
        Leaving early, or close(), runs the generator's `finally` in the worker. Never retried.
        """
        return Stream(self._pinned(), function, args, kwargs)

    def astream(self, function: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """`stream` for asyncio: `async for` and `async with`. Cancelling the reading task closes
        it."""
        return AsyncStream(self._pinned(), function, args, kwargs)

    def proxy(self, protocol: Callable[..., T], /) -> T:
        """An object whose methods are functions of the workers, as the Protocol class names them.

        `def` is `call`, `async def` is `acall`; a method that returns an Iterator is `stream`, an
        AsyncIterator `astream`, a Future `submit`. Results have the type that it names. Names,
        parameters and plain types are compared with what the workers publish, now and once:
        ProxyMismatch says what differs. A server's client knows names only.
        """
        from pyproc import proxies

        return cast(T, proxies.make(self, protocol, self._pool.functions()))

    def _result_type(self, function: str) -> object:
        return self._type if self._type is not None else self._pool._host_types.get(function)

    def _pinned(self) -> Calls:
        """These calls with the context variables that the caller has now."""
        if not self._carries:
            return self
        rare = self._rare_now()
        return Calls(
            self._pool, self._run, self._queue, self._type, rare, self._retry, True, self.key,
            self._streaming, self.on_progress,
        )  # fmt: skip

    def _rare_now(self) -> dict[str, Any] | None:
        baggage = context.gather(self._pool._carried)
        return {**(self._rare or {}), "baggage": baggage} if baggage else self._rare
