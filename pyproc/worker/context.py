"""`pyproc.current()`: the running call, and the way in which the host asks it to stop."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself imports enum
import sys

from pyproc import _worker, errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NEVER = 2**63 - 1
_INFINITE = float("inf")
_MESSAGE_MAX = 4096
SOFT_NONE, SOFT_TIMEOUT, SOFT_CANCEL, SOFT_CLOSE = range(4)

_worker_object: _worker.Worker | None = None
#: In a worker of another kind of pool: answers the call of the calling thread, or None.
elsewhere: Callable[[], Any] | None = None
#: Where calls run side by side: answers the one of the running context, or None.
beside: Callable[[], Any] | None = None


class Current:
    """The call that this worker runs, for the function that is called. Main thread or any.

    call_id: the number that errors and log records carry. function: the name it was called by.
    """

    def __init__(self, worker: _worker.Worker, call_id: int) -> None:
        self._worker = worker
        self.call_id = call_id
        self.function: str = worker.function()
        #: Moment of `time.monotonic()` at which the call is stopped, or None.
        self.deadline: float | None = moment(worker.deadline())

    def remaining(self) -> float | None:
        """Seconds left before the deadline, 0 at least; None without one."""
        import time

        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def cancelled(self) -> bool:
        """Whether the host has asked the call to stop; reads memory, so it may be polled."""
        return self._worker.call() == self.call_id and self._worker.stopping() != 0

    def progress(self, n: float, total: float | None = None, message: str = "") -> None:
        """As `pyproc.progress`."""
        done, whole = _amount(n, "n"), -1.0 if total is None else _amount(total, "total")
        if not isinstance(message, str):
            raise TypeError(f"progress(message=...): a str is needed, not {type(message).__name__}")
        from pyproc.worker.failure import as_text

        self._worker.progress(self.call_id, done, whole, as_text(message, _MESSAGE_MAX))

    def __repr__(self) -> str:
        return f"<pyproc.current() call_id={self.call_id} function={self.function!r}>"


def moment(ends: int) -> float | None:
    """A deadline of the core's as one of `time.monotonic()`."""
    return None if ends == _NEVER else ends / 1e9


def call_number() -> int:
    """Of the call that the running code belongs to, where its context says so; else 0."""
    found = None if beside is None else beside()
    return 0 if found is None else found.call_id


def current() -> Current:
    """The running call. Raises pyproc.Error outside of a worker, and while no call runs."""
    if elsewhere is not None:
        found = elsewhere()
        if found is None:
            raise errors.Error("pyproc.current(): no call runs just now in this thread")
        return found  # type: ignore[no-any-return]
    if _worker_object is None:
        raise errors.Error("pyproc.current() is for functions that run in a worker of a pool")
    if beside is not None and (own := beside()) is not None:
        return own  # type: ignore[no-any-return]
    call_id = _worker_object.call()
    if call_id == 0:
        raise errors.Error("pyproc.current(): no call runs just now in this worker")
    return Current(_worker_object, call_id)


def progress(n: float, total: float | None = None, message: str = "") -> None:
    """Tells the host how far the running call is: `n` done, of `total` if that is known.

    Never waits; only the newest counts. The host sees it by `Future.progress()` and
    `options(on_progress=)`. Any thread of the call. Raises ValueError and TypeError when a number
    is NaN, infinite, negative or none, and Error outside of a call.
    """
    current().progress(n, total, message)


def _amount(value: Any, name: str) -> float:
    if isinstance(value, str | bytes | bytearray) or not hasattr(type(value), "__float__"):
        raise TypeError(f"progress({name}={value!r}): a number is needed")
    try:
        number = float(value)
    except OverflowError:
        number = _INFINITE
    if not 0 <= number < _INFINITE:  # NaN is neither
        raise ValueError(f"progress({name}={value!r}): a finite number of 0 or more is needed")
    return number


def arm(worker: _worker.Worker) -> None:
    """Has the host's request to stop raise in the running function."""
    global _worker_object
    _worker_object = worker
    _signal.signal(_worker.SIGNAL_STOP, _on_stop)


def _on_stop(_number: int, _frame: Any) -> None:
    worker = _worker_object
    why = worker.stopping() if worker is not None else 0
    if worker is None or why == SOFT_NONE:
        return  # it comes late: the call that was meant has ended
    if worker.stream_waits():
        return  # the wait ends, and then it is raised in the generator
    if why == SOFT_CLOSE:
        streams = sys.modules.get("pyproc.worker.streams")
        if streams is not None:
            streams.close()
        return
    tasks = sys.modules.get("pyproc.worker.tasks")
    if tasks is not None and tasks.stop(stopped(why)):
        return
    raise stopped(why)


def stopped(why: int) -> errors.Error:
    """What ends a call that is to stop."""
    if why == SOFT_TIMEOUT:
        return errors.TaskTimeout("the call ran longer than its time limit", stage="run")
    return errors.TaskKilled("the caller wants the call to stop")
