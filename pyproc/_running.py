"""An executor's work: its pool, opened with the first task, and the tasks that have not ended.

It outlives the Executor object, so that what was submitted is done although nobody holds the
executor any more. All methods may be called from any thread; a task's end comes on the pool's
delivery thread.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, cast

from pyproc import _tasks, broken
from pyproc import sandbox as sandboxes
from pyproc._tasks import Failed
from pyproc.calls import Calls
from pyproc.codec import encode_items
from pyproc.delivery import Lender
from pyproc.errors import CodecError, ResultTooLarge, TaskKilled, WorkerStartError
from pyproc.files import NO_FILES, encode_call
from pyproc.future import Future
from pyproc.mapping import ONE_ITEM
from pyproc.pool import Pool
from pyproc.target import RUN
from pyproc.worker.executing import TASK, Runner

if TYPE_CHECKING:
    from pyproc.codec import Payload

#: Works that have a pool, or are about to get one; each is taken out when its pool is closed.
_open: set[Work] = set()
_is_ending = False


class Work:
    """One executor's pool and what it has to do."""

    def __init__(self, runner: Runner, options: dict[str, Any]) -> None:
        self.runner = runner
        self.options = options
        self.changed = threading.Condition(threading.RLock())
        self.futures: dict[TaskFuture, None] = {}  # that have not ended, in their order
        self.waiting: dict[TaskFuture, None] = {}  # for the pool to open, in their order
        self.pool: Pool | None = None
        self.calls: Calls | None = None
        self.opener: threading.Thread | None = None
        self.broken: BaseException | None = None  # why there is no more work taken
        self.is_closed = False
        self.is_left = False  # to be closed with the last future, by a thread of its own
        self.owner = os.getpid()

    def again(self) -> Work:
        """The same for a process that was forked: a pool of its own, none of the work."""
        work = Work(self.runner, self.options)
        work.is_closed = self.is_closed
        return work

    def check(self) -> None:
        """Raises what a submit has to raise."""
        if self.broken is not None:
            raise broken.WorkerStartError(
                "the executor's initializer has failed: it takes no more work"
            ) from self.broken
        if self.is_closed:
            raise broken.ShutDown("cannot schedule new futures after shutdown")
        if _is_ending:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def admit(self, future: TaskFuture) -> None:
        """Sends a task, at once or when the pool is open."""
        with self.changed:
            self.check()
            self.futures[future] = None
            calls = None if self.waiting else self.calls
            if calls is None:
                self.waiting[future] = None
                if self.opener is None:
                    self.start_opening()
        future.add_done_callback(self._ended)
        if calls is not None:
            future.launch(calls)

    def start_opening(self) -> None:
        """Opens the pool on a thread of its own; `changed` is held."""
        _open.add(self)
        self.opener = Lender(target=self._open_pool, name="pyproc-executor-open", daemon=True)
        self.opener.start()

    def take_back(self, future: TaskFuture) -> bool:
        """Whether the future still waited for the pool, and now does not."""
        with self.changed:
            return self.waiting.pop(future, self) is None

    def _open_pool(self) -> None:
        try:
            pool = Pool(self.runner, **{**self.options, "env": self._environment()})
        except BaseException as error:
            self._cannot_open(error.with_traceback(None))
            return
        calls = pool.options()
        with self.changed:
            self.pool = pool
        while True:
            with self.changed:
                if not self.waiting:
                    self.calls = calls
                    self.opener = None
                    self.changed.notify_all()
                    return
                future = next(iter(self.waiting))
                del self.waiting[future]
            future.launch(calls)

    def _environment(self) -> dict[str, str] | None:
        """Without a sandbox workers have what the host has, as those of the standard library."""
        own: dict[str, str] | None = self.options["env"]
        if sandboxes.of(self.options["sandbox"]).profile != "none":
            return own
        host = {name: value for name, value in os.environ.items() if (name + value).isprintable()}
        return host | (own or {})

    def _cannot_open(self, error: BaseException) -> None:
        with self.changed:
            futures = list(self.waiting)
            self.waiting.clear()
            self.opener = None
            _open.discard(self)
            self.changed.notify_all()
        self.start_failed(error)
        for future in futures:
            future.refuse(broken.of(broken.copied(error)))

    def start_failed(self, error: BaseException) -> None:
        """A worker could not start. With an initializer no other one will, either."""
        with self.changed:
            if not self.runner.initializer or self.broken is not None:
                return
            self.broken = error
        logging.getLogger("concurrent.futures").critical(
            "Exception in initializer:", exc_info=error
        )

    def _ended(self, future: Any) -> None:
        with self.changed:
            self.futures.pop(future, None)
            if self.futures:
                return
            self.changed.notify_all()
            if self.is_left:
                self._finish_beside()

    def close(self, cancel: bool) -> None:
        """No new tasks; with `cancel` those that have not started are taken back."""
        with self.changed:
            self.is_closed = True
            at_work = int(self.options["workers"])  # the oldest, or as good as
            futures = list(self.futures)[at_work:] if cancel else []
        for future in reversed(futures):
            future.cancel()

    def leave(self) -> None:
        """Nobody waits for the end; may be called by the garbage collector, in any place."""
        with self.changed:
            self.is_closed = self.is_left = True
            if not self.futures:
                self._finish_beside()

    def wait(self) -> None:
        """Returns when all has ended and every process is gone. ^C ends the work."""
        pool = self.pool
        if pool is not None and pool._delivery.is_own_thread():
            self.leave()  # it would wait for itself
            return
        try:
            with self.changed:
                self.changed.wait_for(lambda: not self.futures and self.opener is None)
            self.finish()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills the workers; what has not ended ends with Terminated."""
        with self.changed:
            self.is_closed = True
            waiting = list(self.waiting)
            self.waiting.clear()
        for future in waiting:
            future.refuse(broken.Terminated("the executor's workers were terminated"))
        with self.changed:
            self.changed.wait_for(lambda: self.opener is None)
        if self.pool is not None:
            self.pool.close(0)
        _open.discard(self)

    def finish(self) -> None:
        """Closes the pool when nothing is left to do."""
        if self.pool is not None:
            self.pool.close()
        _open.discard(self)

    def _finish_beside(self) -> None:
        if self.pool is None or self.pool._closed:
            _open.discard(self)
            return
        try:
            threading.Thread(target=self.finish, name="pyproc-executor-close", daemon=True).start()
        except RuntimeError:  # the interpreter ends: it is done there
            pass


class TaskFuture(Future):
    """The outcome of a task. As any Future; `kill` stops a task that runs."""

    def __init__(self, work: Work, task: Any, hint: object, name: str) -> None:
        super().__init__(cast(Calls, None), RUN, (b"", 0, ()), NO_FILES)
        self._name = name
        self._work = work
        self._task = task  # until it is sent
        self._hint = hint

    def launch(self, calls: Calls) -> None:
        """Sends the task. What that raises is its end."""
        task, self._task = self._task, None
        self._calls = calls
        try:
            self.encoded, self.files = encode_call((task,), {}, calls._parcel(files=False))
            self.start(calls._submit(self, RUN, True))
        except BaseException as error:
            self.refuse(broken.of(error))

    def cancel(self) -> bool:
        """Ends the task if it has not started; answers whether it is cancelled."""
        if self._work.take_back(self):
            self._task = None
            concurrent_cancel(self)
            self.set_running_or_notify_cancel()
            return True
        return super().cancel() if self._id else self.cancelled()

    def kill(self) -> bool:
        """Ends the task even while it runs: its worker is killed, it raises TaskKilled."""
        if self._work.take_back(self):
            self.refuse(TaskKilled("the task was stopped on request before it was sent"))
            return True
        return super().kill() if self._id else False

    def refuse(self, error: BaseException) -> None:
        """The task is not done at all."""
        self._task = None
        if not self.cancelled():
            super().refuse(error)

    def settle(
        self, exception: BaseException | None, codec: int, payload: Payload, _count: int
    ) -> None:
        """The delivery thread's: takes the end of the task."""
        if self._cancelling and isinstance(exception, TaskKilled):
            concurrent_cancel(self)
        elif exception is not None and not self.cancelled() and self._goes_on(exception):
            return
        self.encoded = (b"", 0, ())
        self.files.close()
        if not self.set_running_or_notify_cancel():
            return
        if exception is None:
            value = _tasks.read(payload, codec, self._work.runner.pickles, self._hint)
            if not isinstance(value, Failed):
                self.set_result(value)
                return
            exception = value.error
        self.set_exception(shown(self._work, exception, self._name))


class ChunkFuture(TaskFuture):
    """The outcomes of several tasks that went together: a list, in order, Failed among them."""

    def __init__(self, work: Work, tasks: list[Any], hint: object, name: str) -> None:
        super().__init__(work, tasks, hint, name)
        self._items: list[Any] = tasks  # those without an outcome
        self._outcomes: list[Any] = []

    def launch(self, calls: Calls) -> None:
        """Sends the tasks, in halves when they are too much at once."""
        self._task = None
        self._calls = calls
        self._go_on()

    def _go_on(self) -> None:
        while self._items:
            if isinstance(self._items[0], Failed):
                self._outcomes.append(self._items.pop(0))
                continue
            run = list(itertools.takewhile(lambda item: type(item) is not Failed, self._items))
            try:
                self._send(run)
                return
            except (ResultTooLarge, CodecError) as error:
                self._outcomes.append(Failed(error))
                del self._items[0]
            except BaseException as error:
                self._fail(broken.of(error))
        if self.set_running_or_notify_cancel():
            self.set_result(self._outcomes)

    def _send(self, run: list[Any]) -> None:
        with self._calls._parcel(files=False) as parcel:
            payload, codec = encode_items(run, 0, parcel)
            number = self._calls.submit_raw(
                RUN, payload, codec, len(run), self.settle, None, (), parcel
            )
        self.start(number)

    def _fail(self, error: BaseException) -> None:
        self._outcomes += [Failed(broken.copied(error)) for _ in self._items]
        self._items = []

    def settle(
        self, exception: BaseException | None, codec: int, payload: Payload, count: int
    ) -> None:
        """Keeps what was done before a death; the tasks behind it go out again."""
        if self._cancelling and isinstance(exception, TaskKilled):
            concurrent_cancel(self)
            self.set_running_or_notify_cancel()
            return
        try:
            done = _tasks.read_many(payload, codec, count, self._work.runner.pickles, self._hint)[
                : len(self._items)
            ]
        except CodecError as error:
            done, exception = [], error
        del self._items[: len(done)]
        for value in done:
            if isinstance(value, Failed):
                value = Failed(shown(self._work, value.error, self._name))
            self._outcomes.append(value)
        if exception is not None and self._items:
            if isinstance(exception, ONE_ITEM):
                self._outcomes.append(Failed(shown(self._work, exception, self._name)))
                del self._items[0]
            else:
                self._fail(shown(self._work, exception, self._name))
        self._go_on()


def shown(work: Work, error: BaseException, name: str) -> BaseException:
    """The error that the executor's user sees, with the name of his function."""
    if getattr(error, "function", None) == RUN:
        error.function = name  # type: ignore[attr-defined]
        error.args = tuple(
            arg.replace(repr(RUN), repr(name), 1) if isinstance(arg, str) else arg
            for arg in error.args
        )
    if isinstance(error, CodecError) and error.path == TASK:
        unreadable = broken.Unreadable(str(error), TASK)
        unreadable.__cause__ = error.__cause__
        return unreadable
    if isinstance(error, WorkerStartError):
        work.start_failed(error)
    return broken.of(error)


def closed(work: Work) -> None:
    """Its pool is closed: nothing is to be done at exit."""
    _open.discard(work)


def concurrent_cancel(future: Future) -> None:
    """Marks a future as cancelled, without asking the core again."""
    super(Future, future).cancel()


def finish_all() -> None:
    """At exit: what was submitted is done. ^C ends that."""
    global _is_ending
    _is_ending = True
    try:
        for work in list(_open):
            if work.owner == os.getpid():
                work.is_closed = True
                work.wait()
    except KeyboardInterrupt:
        for work in list(_open):
            work.stop()


def forget() -> None:
    """In a forked child: the parent's work is not ours."""
    _open.clear()


# As the standard library's: before handlers of atexit, which may not submit any more.
getattr(threading, "_register_atexit", atexit.register)(finish_all)
