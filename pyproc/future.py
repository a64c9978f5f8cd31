"""Future: a concurrent.futures.Future whose work can be stopped."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from pyproc.codec import decode_value
from pyproc.errors import TaskKilled

if TYPE_CHECKING:
    from pyproc._core import Pool as CorePool
    from pyproc.pool import Pool


class Future(concurrent.futures.Future[Any]):
    """The outcome of a submitted call. As in the standard library, any thread may use it.

    `cancel()` ends a call that has not started and answers False for a running one; `kill()`
    stops running work too. `result(timeout=)` only waits.
    """

    #: Keeps the pool open while somebody holds a future of it.
    _pool: Pool
    _core: CorePool
    _id: int
    _type: object
    _cancelling = False

    def cancel(self) -> bool:
        """Ends the call if it has not started; answers whether it is cancelled."""
        if self.done():
            return self.cancelled()
        self._cancelling = True  # the end may come on its thread before the next line is done
        if self._core.cancel(self._id, False) == 0:
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
        return self._core.cancel(self._id, True) == 0

    def settle(
        self, exception: BaseException | None, codec: int, payload: bytes, _count: int
    ) -> None:
        """The delivery thread's: takes the end of the call."""
        if self._cancelling and isinstance(exception, TaskKilled):
            super().cancel()
        if not self.set_running_or_notify_cancel():
            return
        if exception is None:
            try:
                value = decode_value(payload, codec, self._type)
            except BaseException as error:
                exception = error
            else:
                self.set_result(value)
                return
        self.set_exception(exception)
