"""`async def` functions: one event loop for all calls of the worker.

Objects that live on a loop, such as connection pools, can so be kept between calls. What a call
leaves running is cancelled when it returns, as `asyncio.run` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_runner: asyncio.Runner | None = None


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns; its exceptions are the caller's."""
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    return _runner.run(_alone(coroutine))


async def _alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    before = asyncio.all_tasks()
    try:
        return await coroutine
    finally:
        left = asyncio.all_tasks() - before
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def close() -> None:
    """Ends the loop, if there was ever one."""
    if _runner is not None:
        _runner.close()
