"""Pool(after_fork="reopen"): a forked child's copy of a pool opens anew with its first use.

In the child the core is replaced by a stand-in, at once and without a lock; whoever first asks it
for anything opens the pool with the options that it was opened with. Futures, maps and streams from
before the fork keep the old core, in which they have ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from pyproc.resilience import Guard

if TYPE_CHECKING:
    from pyproc.calls import Calls
    from pyproc.pool import Pool

#: Options that a second opening would have to read again.
_ITERABLES = ("path", "preload", "context")
#: What two processes cannot have at a time.
_ONE_OWNER = ("audit", "control")


class Reopens:
    """What a pool that opens anew knows of its opening."""

    def __init__(self, given: dict[str, Any]) -> None:
        for name in _ONE_OWNER:
            if given[name] is not None:
                raise ValueError(
                    f"after_fork='reopen' and {name}= contradict: two processes would use the same "
                    f"file. Open the pool in the forked process, or leave {name}= out"
                )
        for name in _ITERABLES:
            if given[name] is not None and not isinstance(given[name], str):
                given[name] = tuple(given[name])
        self.given = given
        #: What Pool.options has answered: it follows the pool.
        self.views: weakref.WeakSet[Calls] = weakref.WeakSet()
        self.is_copy = False  # of a pool of the parent's

    def replace(self, pool: Pool, core: Any, guard: Guard) -> None:
        """What the calls of the pool go to from now on."""
        pool._core, pool._guard = core, guard
        for view in list(self.views):
            view._core, view._guard = core, guard


class Reopening:
    """The core of a child's copy until it is used. Any thread."""

    def __init__(self, pool: Pool, reopens: Reopens) -> None:
        self._pool = pool
        self._reopens = reopens
        self._lock = threading.Lock()
        self._core: Any = None
        confined = pool._confined
        if confined._lock >= 0:  # the parent's user number: it holds the lock as well
            with contextlib.suppress(OSError):
                os.close(confined._lock)
            confined._lock = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened(), name)

    def before_fork(self) -> None:
        """A child of the child: nothing is open yet."""

    def after_fork(self) -> None:
        """Likewise."""

    def _opened(self) -> Any:
        with self._lock:
            if self._core is None:
                self._core = self._open()
            return self._core

    def _open(self) -> Any:
        pool, reopens = self._pool, self._reopens
        delivery = pool._delivery
        try:
            pool.__init__(**reopens.given)  # type: ignore[misc]
        except BaseException:  # the next use tries again
            pool._delivery, pool._closed = delivery, False
            raise
        new = pool._reopens
        assert new is not None
        new.is_copy = True
        new.views = reopens.views
        new.replace(pool, pool._core, pool._guard)
        return pool._core


class Undelivered:
    """The delivery of a child's copy until it is used. Any thread."""

    def __init__(self, core: Reopening) -> None:
        self._core = core

    def started(self) -> Any:
        self._core._opened()
        return self._core._pool._delivery.started()

    def is_own_thread(self) -> bool:
        return False

    def is_heard(self) -> bool:
        return True

    def settle(self, _until: float) -> bool:
        return True

    def catch_up(self, _seconds: float = 0.0) -> None:
        pass

    def leave(self) -> None:
        pass

    def stop(self) -> None:
        pass


def stand_in(pool: Pool) -> None:
    """In a child, at the fork: no lock is taken, since another thread may have held it."""
    reopens = pool._reopens
    assert reopens is not None
    guard = Guard(pool._guard.retry, None, None, pool._events)
    core = Reopening(pool, reopens)
    reopens.replace(pool, core, guard)
    pool._delivery = Undelivered(core)  # type: ignore[assignment]
