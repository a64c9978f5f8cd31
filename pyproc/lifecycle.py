"""How a pool's workers come and go while it is open: the part of Pool that is about processes."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyproc import _options

if TYPE_CHECKING:
    from pyproc import _core
    from pyproc._confine import Confinement
    from pyproc.delivery import Delivery
    from pyproc.events import Events


@dataclass(frozen=True)
class WorkerInfo:
    """A worker as it was at one moment.

    state: "launching", "importing", "ready", "busy", "draining" or "dead". tasks_done: calls, and
    items of chunks, that it has answered. age: seconds since its launch. start_method: "exec" or
    "template"; start_reason: why that one. generation: of the application's code; 1 at first,
    counted up by `Pool.reload`. rss: bytes resident in memory, 0 when the kernel does not say.
    keys, actors: how many are tied to it, by `options(key=)` and `Pool.actor`.
    sandbox: the profile, with what it lacks: "strict(degraded: ...)".
    """

    id: int
    pid: int
    state: str
    tasks_done: int
    age: float
    start_method: str
    start_reason: str
    generation: int
    rss: int
    keys: int = 0
    actors: int = 0
    sandbox: str = "none"


class Lifecycle:
    """What a pool's processes are told as a whole. Any thread."""

    _core: _core.Pool
    _delivery: Delivery
    _confined: Confinement
    _events: Events
    _dumping: threading.Lock
    _least: int
    _most: int

    def workers(self) -> list[WorkerInfo]:
        """The living workers; also those that start, and those that end their last calls."""
        return [WorkerInfo(*fields, self._confined.name) for fields in self._core.workers()]

    def resize(
        self,
        workers: int | None = None,
        *,
        min_workers: int | None = None,
        max_workers: int | None = None,
    ) -> None:
        """Sets how many workers there may be, at once and for running calls too.

        `workers` is another word for max_workers; what is not named stays, but a min_workers that
        is too high for the new maximum comes down with it. More workers are started when calls
        want them, min_workers at once; of too many the idle ones leave at once and the others when
        their call has ended. No call is lost. Raises ValueError for a minimum above the maximum.
        """
        if workers is not None and max_workers is not None:
            raise ValueError("resize: workers= and max_workers= mean the same: use one of the two")
        if workers is None and min_workers is None and max_workers is None:
            raise TypeError("resize: workers, min_workers= or max_workers= is needed")
        most = workers if workers is not None else max_workers
        _options.worker_counts(workers, None, max_workers)  # is it a number?
        most = self._most if most is None else most
        least = min(self._least, most) if min_workers is None else min_workers
        least, most = _options.worker_counts(None, least, most)
        self._core.resize(least, most)
        self._least, self._most = least, most

    def reload(self, timeout: float | None = None) -> None:
        """Goes over to freshly imported code, call by call.

        First one worker is started with it; when that fails, WorkerStartError is raised with its
        traceback and the pool goes on with the code that it has. Then each worker is replaced as
        soon as a new one is ready; old ones end the calls that they have. Returns when every new
        call is answered by new code; `workers()` may still show old ones (by `generation`) that
        end their last calls. No call is lost. timeout: seconds, None for as long as it takes;
        TimeoutError after it: what was not ready is undone, a replacement that had begun goes on.
        """
        _check_timeout(timeout, "reload")
        if not self._core.reload(timeout):
            raise TimeoutError(
                f"reload: not done within {timeout} s; stats()['generation'] names the current one"
            )

    def dump(self, worker: int, timeout: float = 5.0) -> str:
        """The Python stacks of all threads of a living worker, by its `WorkerInfo.id`; its call
        goes on. They are the worker's own words. Raises ProcessLookupError when it cannot be asked
        (the text says why: it starts, ends, is stopped), TimeoutError."""
        if isinstance(worker, bool) or not isinstance(worker, int) or worker < 0:
            raise TypeError(f"dump({worker!r}): the number of a worker is needed")
        _check_timeout(timeout, "dump")
        with self._dumping:
            text = self._core.dump(worker, timeout)
        self._events.add("dump", "stacks were asked for", worker)
        return text

    def drain(self, timeout: float | None = None) -> bool:
        """Refuses new calls from now on (PoolClosed) and waits for the admitted ones, for at most
        `timeout` seconds (None: as long as they take). Answers whether all have ended, and their
        futures with them. The pool stays as it is until `close`; there is no way back."""
        _check_timeout(timeout, "drain")
        until = math.inf if timeout is None else time.monotonic() + timeout
        return self._core.drain(timeout) and self._delivery.settle(until)


def _check_timeout(timeout: float | None, function: str) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"{function}(timeout={timeout!r}): seconds or None are needed")
    if timeout < 0 or math.isnan(timeout):
        raise ValueError(f"{function}(timeout={timeout!r}): 0 seconds or more, or None, is needed")
