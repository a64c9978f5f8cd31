"""Notebooks: a cell shows what its calls print, and the stop button reaches what it awaits.

Workers' lines come through the pool's loop and its delivery thread, a moment after the call's
answer. When a cell ends, IPython's own hook waits for them, so that none appears under the next
one. Nothing of this is imported or done outside IPython.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyproc.pool import Pool

#: Seconds that a cell's end may be held up, in all.
SHOW_SECONDS = 0.2
#: How often a cell's event loop turns while it awaits. On the stop button ipykernel cancels the
#: cell by a callback that does not wake the loop (tornado's add_callback on the loop's own thread),
#: so that a loop with nothing else to do would never see it.
TURN_SECONDS = 0.2


class Cells:
    """The hooks of one shell; the shell's thread. `pools`: those that are open, whichever."""

    def __init__(self, pools: Collection[Pool]) -> None:
        self.pools = pools
        self._next: asyncio.TimerHandle | None = None

    def begun(self, *_: object) -> None:
        """Before each cell."""
        self._rest()
        try:
            self._turn(asyncio.get_running_loop())
        except RuntimeError:
            pass  # no cell of a kernel: ^C is an exception there

    def ended(self, *_: object) -> None:
        """After each cell."""
        self._rest()
        until = time.monotonic() + SHOW_SECONDS
        for pool in list(self.pools):
            if pool._owner == os.getpid():
                pool._core.hear(max(0.0, until - time.monotonic()))
                pool._delivery.catch_up(max(0.0, until - time.monotonic()))

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = loop.call_later(TURN_SECONDS, self._turn, loop)

    def _rest(self) -> None:
        following, self._next = self._next, None
        if following is not None:
            following.cancel()


def watch(pools: Collection[Pool]) -> None:
    """Does so from now on, where this is a notebook or IPython. Any thread."""
    get: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get() if get is not None else None
    if shell is None or getattr(shell, "_pyproc_cells", None) is not None:
        return
    cells = shell._pyproc_cells = Cells(pools)
    shell.events.register("pre_run_cell", cells.begun)
    shell.events.register("post_run_cell", cells.ended)
    cells.begun()  # of the cell that runs now
