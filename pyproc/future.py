"""Future: a concurrent.futures.Future whose work can be stopped."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

from pyproc.bars import Progress, received
from pyproc.codec import decode_value
from pyproc.errors import TaskKilled
from pyproc.identity import identity_of
from pyproc.resilience import is_failure

if TYPE_CHECKING:
    from pyproc.calls import Calls
    from pyproc.codec import Payload
    from pyproc.files import Attachments


class Future(concurrent.futures.Future[Any]):
    """The outcome of a submitted call. As in the standard library, any thread may use it.

    `cancel()` ends a call that has not started and answers False for a running one; `kill()`
    stops running work too. `result(timeout=)` only waits.
    """

    _cancelling = False
    _timer: threading.Timer | None = None
    _id = 0
    _core: Any = None  # whose id it is: after a fork the calls may have another one
    _progress: Progress | None = None

    def __init__(
        self,
        calls: Calls,
        function: str,
        encoded: tuple[bytes, int, tuple[str, ...]],
        files: Attachments,
    ) -> None:
        super().__init__()
        #: Keeps the pool open while somebody holds a future of it.
        self._calls = calls
        self._function = function
        self._attempt = 1
        #: Payload, codec and keywords, until the call has ended.
        self.encoded = encoded
        #: What goes with it, until it is sent or will not be tried again.
        self.files = files

    def progress(self) -> Progress | None:
        """What the function gave to `pyproc.progress` last; None: nothing yet. Does not wait."""
        return self._progress

    def advance(self, item: tuple[Any, ...]) -> None:
        """The delivery thread's: the call has gone on."""
        self._progress = progress = received(item)
        if self._calls.on_progress is not None:
            self._calls.on_progress(progress)

    def identity(self) -> bytes:
        """What makes the request the same as another one."""
        return identity_of(self.encoded)

    def start(self, number: int) -> None:
        """The call is admitted under this number."""
        self._id = number
        self._core = self._calls._core

    def refuse(self, error: BaseException) -> None:
        """The call is not made at all."""
        self.files.close()
        self.set_running_or_notify_cancel()
        self.set_exception(error)

    def cancel(self) -> bool:
        """Ends the call if it has not started; answers whether it is cancelled."""
        if self.done():
            return self.cancelled()
        if self._leave_pause():
            super().cancel()
            self.set_running_or_notify_cancel()
            self.files.close()
            return True
        self._cancelling = True  # the end may come on its thread before the next line is done
        if self._core is not None and self._core.cancel(self._id, False) == 0:
            super().cancel()
            return True
        self._cancelling = False
        return self.cancelled()

    def kill(self) -> bool:
        """Ends the call even while it runs: its worker is killed, it raises TaskKilled.

        Answers False when it had ended before.
        """
        if self.done():
            return False
        if self._leave_pause():
            self.refuse(TaskKilled("the call was stopped on request before it was tried again"))
            return True
        return self._core is not None and bool(self._core.cancel(self._id, True) == 0)

    def _leave_pause(self) -> bool:
        """Between two attempts: True when there will be no other one."""
        timer, self._timer = self._timer, None
        if timer is None:
            return False
        timer.cancel()
        return True

    def settle(
        self, exception: BaseException | None, codec: int, payload: Payload, _count: int
    ) -> None:
        """The delivery thread's: takes the end of the call."""
        if self._cancelling and isinstance(exception, TaskKilled):
            super().cancel()
        elif exception is not None and not self.cancelled() and self._goes_on(exception):
            return
        self.encoded = (b"", 0, ())
        self.files.close()
        if not self.set_running_or_notify_cancel():
            return
        if exception is None:
            if self._calls._guard.hot:
                self._calls._guard.ended_well(self._function)
            try:
                value = decode_value(payload, codec, self._calls._result_type(self._function))
            except BaseException as error:
                exception = error
            else:
                self.set_result(value)
                return
        self.set_exception(exception)

    def _goes_on(self, error: BaseException) -> bool:
        """Whether the call is made again."""
        calls = self._calls
        if is_failure(error) or calls._guard.hot:
            calls._guard.ended_badly(self._function, self.identity(), error)
        if not calls._retries:
            return False
        pause = calls._guard.may_retry(calls._retry, self._attempt, error)
        if pause is None:
            return False
        self._attempt += 1
        timer = threading.Timer(pause, self._again, (error,))
        timer.daemon = True
        self._timer = timer
        timer.start()
        return True

    def _again(self, error: BaseException) -> None:
        if self._timer is None:
            return  # somebody has cancelled meanwhile
        self._timer = None
        try:
            if self._calls._guard.hot:
                self._calls._guard.admit(self._function, self.identity(), self._calls.key)
            self.start(self._calls._submit(self, self._function))
        except Exception as refused:  # quarantine, a full queue, a closed pool
            refused.__cause__ = error
            self.refuse(refused)
