"""`async def` functions: one event loop for all calls of the worker.

Objects that live on a loop, such as connection pools, can so be kept between calls. What a call
leaves running is cancelled when it returns, as `asyncio.run` does.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

_runner: asyncio.Runner | None = None
_running = False
_task: asyncio.Task[Any] | None = None  # of the running coroutine, between its two ends
_stopped: BaseException | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The worker's event loop."""
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    return _runner.get_loop()


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns; its exceptions are the caller's."""
    global _runner, _running, _stopped
    _running, _stopped = True, None
    try:
        if _runner is None:
            _runner = asyncio.Runner()
        # The runner's own context would be the one of its first call.
        return _runner.run(_alone(coroutine), context=contextvars.copy_context())
    except asyncio.CancelledError:
        if _stopped is not None:
            raise _stopped from None
        raise
    finally:
        _running = False


def stop(why: BaseException) -> bool:
    """Cancels the running coroutine, which then ends with `why`; False when none runs. For a
    signal handler of the main thread."""
    global _stopped
    if not _running:
        return False
    _stopped = why
    if _task is not None:  # else the loop's own code runs, which must not be interrupted
        _task.get_loop().call_soon_threadsafe(_task.cancel)
    return True


async def _alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    global _task
    before = asyncio.all_tasks()
    _task = asyncio.current_task()
    try:
        if _stopped is not None:  # it came while the loop was being made
            coroutine.close()
            raise _stopped
        return await coroutine
    finally:
        _task = None
        left = asyncio.all_tasks() - before
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def close() -> None:
    """Ends the loop, if there was ever one."""
    if _runner is not None:
        _runner.close()
