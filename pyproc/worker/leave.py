"""The end of a worker: handlers run, output is flushed, and nothing can hold it for ever.

A thread that user code left behind, or an exit handler that hangs, gets a short time. The
process ends by `os._exit`, since taking an interpreter down costs milliseconds and runs
destructors of libraries that are seldom tested.
"""

from __future__ import annotations

import os
import sys

#: Seconds for exit handlers and for threads that are not daemons.
GRACE = 2.0


def leave(code: int) -> None:
    """Ends the process. Does not return."""
    try:
        _finish(code)
    except BaseException:  # (whatever is left of user code may not stop us)
        pass
    _flush()
    os._exit(code)


def _finish(code: int) -> None:
    import atexit

    threading = sys.modules.get("threading")
    if threading is None and atexit._ncallbacks() == 0:
        return
    _give_up_later(code)
    if "pyproc.worker.tasks" in sys.modules:
        sys.modules["pyproc.worker.tasks"].close()
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()


def _give_up_later(code: int) -> None:
    import _thread
    import time

    def wait() -> None:
        time.sleep(GRACE)
        os._exit(code)

    _thread.start_new_thread(wait, ())


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # (closed or broken by user code)
            pass
