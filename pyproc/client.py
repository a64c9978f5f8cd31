"""connect: the pool of another process, over its named socket, with a pool's own ways to call.

    with pyproc.connect("/run/docs/docs.sock", key="/etc/docs/client.key") as pool:
        pool.call("extract", data, page=2)

Thin: `_core.Client` stands where a pool's core does, so calls, futures, maps and asyncio are the
same code.
"""

from __future__ import annotations

import math
import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Never, Self, cast

from pyproc import _core, _options, aio, config
from pyproc.calls import Calls
from pyproc.delivery import Delivery
from pyproc.errors import PoolClosed
from pyproc.events import Events
from pyproc.files import NO_FILES, Attachments
from pyproc.resilience import Guard, Retry

_open_clients: weakref.WeakSet[Client] = weakref.WeakSet()
#: What a secret has at least.
KEY_BYTES = 32


class _ServedCalls(Calls):
    """`Calls` of a server. One that hides the inside of failures takes no chunks: an item of a
    map then travels as a call of its own."""

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
        """See `Calls.submit_raw`."""
        if items != 1:
            return super().submit_raw(
                function, payload, codec, items, settle, queue, keywords, files
            )

        def settled(error: BaseException | None, by: int, value: bytes, _count: int) -> None:
            settle(error, by, value, 0 if error is not None else 1)

        return super().submit_raw(function, payload, codec, 0, settled, queue, keywords, files)


class Client(_ServedCalls):
    """A served pool; see `connect`. Any thread may call; a forked child's copy raises PoolClosed.

    Raises what a pool's calls raise, and AccessDenied, RateLimited, RequestRefused and
    Disconnected. What a server hides of a failure it hides here too: type and correlation id
    are left.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key_id: str | None,
        secret: bytes | None,
        key_file: str | None,
        server_uid: int | None,
        timeout: float,
        retry: Retry | None,
    ) -> None:
        self._closed = True  # until it is open
        self._path = os.fspath(path)
        self._owner = os.getpid()
        self._events = Events(None)
        self._guard = Guard(retry or Retry(), None, None, self._events)
        self._carried: Any = ()
        self._host_types: dict[str, object] = {}
        self._task_timeout: float | None = None
        self._counts_output = False
        given: dict[str, Any] = {"key_file": key_file} if key_file is not None else {}
        self._core: Any = _core.Client(
            self._path, key_id, secret, server_uid=server_uid, timeout=timeout, **given
        )
        about = self._core.about()
        self._most = max(1, int(about["max_in_flight"]))
        self._shares = False  # what shares a worker is the server's business
        self._chunk_max: int | None = None if about["sees_all"] else 1
        self._delivery = Delivery(self._events.take)
        super().__init__(cast("Any", self))
        self._closed = False
        _open_clients.add(self)

    def options(
        self,
        *,
        timeout: float | Literal[False] | None = False,
        queue_timeout: float | Literal[False] | None = False,
        deadline: float | None = None,
        priority: int = 0,
        memory: int | str | None = None,
        cpu_time: float | None = None,
        output: int | str | None = None,
        result_size: int | str | None = None,
        retry: Retry | None = None,
        result_type: object = None,
        item_timeout: float | None = None,
        buffersize: int | None = None,
        **others: Never,
    ) -> Calls:
        """The same calls with other options, as `Pool.options`. A server's own limits count all the
        same, and a priority above the server's highest counts as that."""
        if others:
            _options.refuse_limits(others)
        if timeout is not False:
            config.check_seconds(timeout, "timeout")
        if queue_timeout is not False:
            config.check_seconds(queue_timeout, "queue_timeout")
        rare = _options.rare(
            priority, deadline, memory, cpu_time, output, result_size, (None, _options.MAX_FRAME)
        )
        return _ServedCalls(
            cast("Any", self), timeout, queue_timeout, result_type, rare, retry,
            streaming=_options.streaming(item_timeout, buffersize),
        )  # fmt: skip

    def functions(self) -> dict[str, str]:
        """The functions that this client may call; the server does not tell their signatures."""
        return cast("dict[str, str]", self._core.functions())

    def about(self) -> dict[str, Any]:
        """What the server has said: role, max_in_flight, max_payload, sees_all, connected,
        server_pid, server_uid."""
        return cast("dict[str, Any]", self._core.about())

    def close(self, timeout: float | None = None) -> None:
        """Refuses new calls, waits for those under way for `timeout` seconds (None: as long as they
        take), ends the rest with PoolClosed, and disconnects. The server's pool goes on."""
        if timeout is not None and not (timeout >= 0 and not math.isnan(timeout)):
            raise ValueError(f"close(timeout={timeout!r}): 0 seconds or more, or None, is needed")
        if self._owner != os.getpid() or self._closed:
            return
        self._closed = True
        _open_clients.discard(self)
        try:
            self._core.close(timeout)
        finally:
            self._delivery.stop()
            aio.sweep()

    def __enter__(self) -> Self:
        if self._closed:
            raise PoolClosed("the client is closed")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(None if kind is None else 0)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await aio.in_thread(self.close, None if kind is None else 0)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._owner == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._delivery.leave()
            self._closed = True
            del self._core

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<pyproc.Client {state} {self._path!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Client cannot be pickled: connect again in the other process")


def connect(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str] | None = None,
    token: str | bytes | None = None,
    key_id: str | None = None,
    server_uid: int | None = None,
    timeout: float = 5.0,
    retry: Retry | None = None,
) -> Client:
    """Connects to the pool that `pyproc serve` offers at a named socket.

    key: a file with the secret (32 bytes or more, mode 0600, ours); both ends then prove to hold
    it. token: the secret itself, instead. key_id: the key's name at the server (default: the file's
    name without its ending; of a token "default"). server_uid: the user that must serve there.
    timeout: seconds that connecting may take. retry: as of a pool.

    Raises OSError when there is no server, AuthenticationError, AccessDenied, ValueError for what
    cannot be meant.
    """
    if key is not None and token is not None:
        raise ValueError("key= and token= are two ways to give one secret: use one of them")
    config.check_seconds(timeout, "timeout")
    secret = token.encode() if isinstance(token, str) else token
    if secret is not None and len(secret) < KEY_BYTES:
        raise ValueError(f"token=: {KEY_BYTES} bytes are needed, this one has {len(secret)}")
    if key is not None:
        key_id = key_id or Path(key).stem
    elif secret is not None:
        key_id = key_id or "default"
    elif key_id is not None:
        raise ValueError("key_id= names a key: key= or token= must give its secret")
    return Client(
        path,
        key_id=key_id,
        secret=secret,
        key_file=None if key is None else os.fspath(key),
        server_uid=server_uid,
        timeout=timeout,
        retry=retry,
    )


def _after_fork() -> None:
    for client in list(_open_clients):
        client._core.after_fork()


os.register_at_fork(after_in_child=_after_fork)
