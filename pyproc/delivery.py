"""The delivery thread of a pool: settles futures, forwards what workers print and log.

It waits for the core's queue without the GIL and takes it once a batch. A slow callback of a
future delays other callbacks of the same pool, never a worker or a deadline.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from pyproc import _core
from pyproc.codec import RICH, decode_value
from pyproc.errors import CodecError, PoolClosed, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

_STREAMS = {1: "stdout", 2: "stderr"}
#: What no worker may set on a record.
_RECORD_NAMES = frozenset(
    {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"}
)
_OUTPUT, _EVENT, _PROGRESS = 1, 3, 5
#: How long an error waits for what its worker logged before it.
HEAR_SECONDS = 0.05


class Lender(threading.Thread):
    """A thread that opens a pool and, where no other one can be started any more, delivers for it
    when it has done so."""

    _lent: Callable[[], None] | None = None

    def lend(self, work: Callable[[], None]) -> None:
        """`work` is run after the thread's own; from that only."""
        self._lent = work

    def run(self) -> None:
        """The thread's."""
        super().run()
        if self._lent is not None:
            self._lent()


class Delivery:
    """One queue and the thread that empties it, started with the first need. Any thread."""

    def __init__(
        self,
        on_event: Callable[[tuple[Any, ...]], None],
        on_output: Callable[[tuple[Any, ...]], None] | None = None,
    ) -> None:
        self._on = {_EVENT: on_event, _OUTPUT: on_output or deliver, _PROGRESS: _progress}
        self._queue: _core.Queue | None = _core.Queue()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def started(self) -> _core.Queue:
        """The queue, once its thread runs. PoolClosed after `stop`, and in a forked child, where
        the lock may have been left locked and nobody would empty the queue."""
        queue = self._queue
        if queue is None:
            raise PoolClosed("the pool is closed")
        if os.getpid() != self._owner:
            raise PoolClosed(
                "the pool belongs to the process that forked: open one in this process"
            )
        if self._thread is not None:
            return queue
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_run, args=(queue, self._on), name="pyproc-delivery", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # from Python 3.12 on none starts while the program ends
                    lender = threading.current_thread()
                    if not isinstance(lender, Lender):
                        raise
                    lender.lend(functools.partial(_run, queue, self._on))
                    thread = lender
                self._thread = thread
        return queue

    def is_own_thread(self) -> bool:
        """Whether the caller is the delivery thread, in the callback of a future."""
        return self._thread is threading.current_thread()

    def leave(self) -> None:
        """Lets the thread end when everything that waits has been delivered; does not wait."""
        queue, self._queue = self._queue, None  # and its descriptor: a closed pool may be kept
        if queue is not None:
            queue.close()

    def settle(self, until: float) -> bool:
        """Waits until every end has been delivered, at most until that time.monotonic(); not on
        the delivery thread, where it would wait for itself. Answers whether all are."""
        queue = self._queue
        if queue is None or self._thread is threading.current_thread():
            return True
        while queue.pending() > 0:
            if time.monotonic() >= until:
                return False
            time.sleep(0.001)
        return True

    def is_heard(self) -> bool:
        """Whether all output and records that have arrived are delivered; True on the delivery
        thread, which would wait for itself, and in a forked child, where the queue's lock may have
        been left locked."""
        queue = self._queue
        if os.getpid() != self._owner:
            return True
        return queue is None or self._thread is threading.current_thread() or queue.is_idle()

    def catch_up(self, seconds: float = HEAR_SECONDS) -> None:
        """Waits until they are, at most so long."""
        until = time.monotonic() + seconds
        while not self.is_heard() and time.monotonic() < until:
            time.sleep(0.0005)

    def stop(self) -> None:
        """Ends the thread when everything that waits has been delivered."""
        self.leave()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(queue: _core.Queue, on: dict[int, Callable[[tuple[Any, ...]], None]]) -> None:
    while (items := queue.wait()) is not None:
        for item in items:
            on.get(item[0], deliver)(item)
        del items, item  # the last future must not live until the next one comes


def _progress(item: tuple[Any, ...]) -> None:
    try:
        item[1].__self__.advance(item)  # the future whose settle() is the token
    except BaseException:  # as below
        logging.getLogger("pyproc").exception("on_progress failed")


def deliver(item: tuple[Any, ...]) -> None:
    """Gives one item of a queue to whom it belongs; nothing it meets ends the thread."""
    try:
        if item[0] == 0:
            token: Callable[..., None] = item[1]
            token(item[2], item[3], item[4], item[5])
        elif item[0] == 1:
            _write(item[2], item[3])
        else:
            _log(item)
    except BaseException:  # also SystemExit: it would end the thread, not the program
        logging.getLogger("pyproc").exception("a callback of a future failed")


def _write(stream: int, text: str) -> None:
    file = getattr(sys, _STREAMS[stream], None)
    if file is None:
        return
    try:
        file.write(text)
        file.flush()
    except (OSError, ValueError):
        pass  # the host's stream is closed: there is nowhere to show it


def _log(item: tuple[Any, ...]) -> None:
    _, worker, call, level, created, name, message, exception, extra, _ = item
    logger = logging.getLogger(name or "root")
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(
        logger.name, level, "(worker)", 0, message, (), _exc_info(exception), None,
        {**_extra(extra), "pyproc_worker": worker, "pyproc_call": call},
    )  # fmt: skip
    record.created = created
    record.exc_text = exception or None  # shown by formatters, instead of the host's own traceback
    logger.handle(record)


def _extra(payload: bytes) -> dict[str, Any]:
    """The record's own attributes, which a worker named: none may stand for one of logging's."""
    if not payload:
        return {}
    try:
        extra = decode_value(payload, RICH)
    except CodecError:
        return {}
    if not isinstance(extra, dict):
        return {}
    return {
        name: value
        for name, value in extra.items()
        if isinstance(name, str) and name not in _RECORD_NAMES
    }


def _exc_info(text: str) -> Any:
    """What was raised, as a RemoteError: its traceback's lines come before its own line."""
    if not text:
        return None
    lines = text.splitlines()
    at = next((at for at, line in enumerate(lines) if not line.startswith(("Traceback", " "))), 0)
    name, _, message = "\n".join(lines[at:]).partition(": ")
    error = RemoteError(name, message, text)
    return RemoteError, error, None
