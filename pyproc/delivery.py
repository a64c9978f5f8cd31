"""The delivery thread of a pool: settles futures, forwards what workers print and log.

It waits for the core's queue without the GIL and takes it once a batch. A slow callback of a
future delays other callbacks of the same pool, never a worker or a deadline.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from pyproc import _core
from pyproc.errors import PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable

_STREAMS = {1: "stdout", 2: "stderr"}
_EVENT = 3


class Delivery:
    """One queue and the thread that empties it, started with the first need. Any thread."""

    def __init__(self, on_event: Callable[[tuple[Any, ...]], None]) -> None:
        self._on_event = on_event
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
            raise PoolClosed("the pool belongs to the process that forked")
        if self._thread is not None:
            return queue
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_run, args=(queue, self._on_event), name="pyproc-delivery", daemon=True
                )
                thread.start()
                self._thread = thread
        return queue

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

    def stop(self) -> None:
        """Ends the thread when everything that waits has been delivered."""
        self.leave()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(queue: _core.Queue, on_event: Callable[[tuple[Any, ...]], None]) -> None:
    while (items := queue.wait()) is not None:
        for item in items:
            if item[0] == _EVENT:
                on_event(item)
            else:
                deliver(item)
        del items, item  # the last future must not live until the next one comes


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
    _, worker, call, level, created, name, message, exception, _, _ = item
    logger = logging.getLogger(name or "root")
    if not logger.isEnabledFor(level):
        return
    text = f"{message}\n{exception}" if exception else message
    record = logger.makeRecord(
        logger.name, level, "(worker)", 0, text, (), None, None,
        {"pyproc_worker": worker, "pyproc_call": call},
    )  # fmt: skip
    record.created = created
    logger.handle(record)
