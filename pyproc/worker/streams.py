"""A stream in the worker: its generator runs as far as the host has credit for items.

Generators of either kind are closed in the end, whatever ends them, so that their `finally` runs
here. While the generator itself runs, the host's word that nobody reads on comes as a signal,
which raises GeneratorExit in it (an async one is cancelled); while it waits for credit, as a
message. Main thread only.
"""

from __future__ import annotations

from pyproc import _worker, errors
from pyproc.worker import context
from pyproc.worker.failure import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from pyproc.worker.checks import Plan

_STOP, _WAIT = _worker.STREAM_STOP, _worker.STREAM_WAIT

_generator: Any = None  # of the running stream
_task: asyncio.Task[Any] | None = None  # of the running async one, until it is being closed


def run(worker: _worker.Worker, plan: Plan, made: Any) -> None:
    """Takes every item that the host wants of what the function has returned."""
    kind = type(made)
    if hasattr(kind, "__anext__"):
        from pyproc.worker.tasks import run_coroutine

        run_coroutine(_drive_async(worker, made))
    elif hasattr(kind, "__next__"):
        _drive(worker, made)
    else:
        if kind.__name__ == "coroutine":
            made.close()
            what = "is an async function that answers with one value"
        else:
            what = f"returned {kind.__name__}, not a generator or another iterator"
        raise Refusal(
            errors.KIND_EXCEPTION, "TypeError", f"{plan.name}() {what}: use call instead of stream"
        )


def _drive(worker: _worker.Worker, generator: Any) -> None:
    global _generator
    add = worker.stream_add
    _generator = generator
    try:
        if worker.stream_wait(True) == _STOP:
            _stop(worker, generator)
            return
        for item in generator:
            state = add(item)
            if state and (state == _STOP or worker.stream_wait(True) == _STOP):
                _stop(worker, generator)
                return
    except GeneratorExit:
        if not is_closed(worker):
            raise
    finally:
        _generator = None
        close = getattr(generator, "close", None)
        if close is not None:
            close()


def _stop(worker: _worker.Worker, generator: Any) -> None:
    """Between two items: a time limit or the caller's wish is raised where the function waits."""
    why = worker.stopping()
    if why in (context.SOFT_NONE, context.SOFT_CLOSE):
        return
    throw = getattr(generator, "throw", None)
    if throw is not None:
        try:
            throw(context.stopped(why))
        except StopIteration:
            pass
    raise context.stopped(why)


async def _drive_async(worker: _worker.Worker, generator: Any) -> None:
    import asyncio

    global _task
    add = worker.stream_add
    _task = asyncio.current_task()
    try:
        if not await _credit(worker):
            return
        async for item in generator:
            state = add(item)
            if state and not await _credit(worker):
                return
    except asyncio.CancelledError:
        if not is_closed(worker):
            raise
    finally:
        _task = None
        close = getattr(generator, "aclose", None)
        if close is not None:
            await close()


async def _credit(worker: _worker.Worker) -> bool:
    """Whether the next item may be made; other tasks of the loop run while that is waited for."""
    import asyncio

    state = worker.stream_wait(False)
    if state == _WAIT:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(worker.call_fd(), ready.set)
        try:
            while (state := worker.stream_wait(False)) == _WAIT:
                await ready.wait()
                ready.clear()
        finally:
            loop.remove_reader(worker.call_fd())
    if state != _STOP:
        return True
    why = worker.stopping()
    if why not in (context.SOFT_NONE, context.SOFT_CLOSE):
        raise context.stopped(why)
    return False


def is_closed(worker: _worker.Worker) -> bool:
    """Whether the host's reader has gone."""
    return worker.stopping() == context.SOFT_CLOSE


def close() -> None:
    """For the signal handler: nobody reads on. Raises in a generator that runs just now."""
    if _task is not None:
        _task.get_loop().call_soon_threadsafe(_cancel, _task)
    elif _generator is not None and getattr(_generator, "gi_running", False):
        raise GeneratorExit


def _cancel(task: asyncio.Task[Any]) -> None:
    if task is _task:  # else it is being closed already, and may clean up in peace
        task.cancel()
