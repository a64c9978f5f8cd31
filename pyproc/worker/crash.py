"""Stacks for the host: at a fatal signal, and when the host asks before it kills.

The host made the file and reads it when this process is gone. What Python starts as a thread
gets a signal stack of its own, so that one whose stack overflows can still say where.
"""

from __future__ import annotations

import _thread
import faulthandler
import sys

from pyproc import _worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIGSYS = 31  # not among faulthandler's; signal(7): the same on all but alpha, mips and parisc

#: What starts a thread, in `_thread` and under another name in `threading`.
_STARTERS = (
    "start_new_thread",
    "_start_new_thread",
    "start_joinable_thread",
    "_start_joinable_thread",
)
_enable = faulthandler.enable


def arm(worker: _worker.Worker) -> None:
    """From now on stacks go to this worker's file; once more after a fork."""
    fd = worker.crash_fd()
    _enable(fd, all_threads=True)
    faulthandler.register(_SIGSYS, fd, all_threads=True, chain=True)
    faulthandler.unregister(_worker.SIGNAL_DUMP)  # else it would not take its place again
    worker.watch_dumps()  # runs behind the next one, and tells the host that it is done
    faulthandler.register(_worker.SIGNAL_DUMP, fd, all_threads=True, chain=True)


def guard_threads() -> None:
    """Once: threads get signal stacks, and fatal signals stay ours."""
    for module in (_thread, sys.modules.get("threading")):
        for name in _STARTERS:
            start = getattr(module, name, None)
            if start is not None:
                setattr(module, name, _guarded(start))
    # A library that enables it for stderr would take the stacks away from the errors.
    faulthandler.enable = _enabled_already


def _guarded(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_guarded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return start(_worker.guarded(function), *args, **kwargs)

    return start_guarded


def _enabled_already(*_args: object, **_kwargs: object) -> None:
    """Stands for faulthandler.enable in a worker: it is enabled, for the host's errors."""
