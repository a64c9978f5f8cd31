"""What a control socket can be asked to do with a pool: a name, and a function of plain data."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyproc.pool import Pool


def commands_of(pool: Pool) -> dict[str, Callable[..., Any]]:
    """All commands of one pool. Wrong arguments raise TypeError, ValueError or LookupError."""
    desk = _Desk(pool)
    names = [name for name in dir(desk) if not name.startswith("_")]
    return {name: getattr(desk, name) for name in names}


class _Desk:
    """Each public method is a command. Any thread."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._since = time.time()

    # ---- only looking ----

    def ping(self) -> dict[str, Any]:
        """Who serves here."""
        from pyproc import __version__

        return {"pid": os.getpid(), "version": __version__, "since": self._since}

    def ps(self) -> list[dict[str, Any]]:
        """The workers."""
        return [asdict(worker) for worker in self._pool.workers()]

    def stats(self) -> dict[str, int]:
        """The counters."""
        return self._pool.stats()

    def health(self) -> dict[str, Any]:
        """How the pool is."""
        return asdict(self._pool.health())

    def top(self) -> dict[str, Any]:
        """All of it at one moment."""
        return {
            "time": time.time(),
            **self.ping(),
            "workers": self.ps(),
            "stats": self.stats(),
            "health": self.health(),
            "events": self.events(10),
        }

    def events(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest events, oldest first."""
        return [event.as_dict() for event in self._pool.events()[-max(1, int(limit)) :]]

    def functions(self) -> dict[str, str]:
        """Names and signatures."""
        return self._pool.functions()

    def quarantine(self) -> list[dict[str, Any]]:
        """Requests that are not run any more."""
        return [
            {"function": function, "deaths": deaths, "cause": cause}
            for function, deaths, cause in self._pool.quarantine()
        ]

    def isolated(self) -> list[str]:
        """Functions whose calls are refused."""
        return self._pool.isolated()

    # ---- doing ----

    def drain(self, timeout: float | None = None) -> bool:
        """Refuses new calls, waits for the others; whether all have ended."""
        return self._pool.drain(timeout)

    def reload(self, timeout: float | None = None) -> dict[str, int]:
        """Goes over to new code."""
        self._pool.reload(timeout)
        return {"generation": self._pool.stats()["generation"]}

    def resize(
        self, min_workers: int | None = None, max_workers: int | None = None
    ) -> dict[str, int]:
        """Another number of workers."""
        self._pool.resize(min_workers=min_workers, max_workers=max_workers)
        return {"min_workers": self._pool._least, "max_workers": self._pool._most}

    def isolate(self, function: str) -> list[str]:
        """Refuses calls of a function."""
        self._pool.isolate(function)
        return self._pool.isolated()

    def release(self, function: str | None = None) -> dict[str, int]:
        """Forgets deaths, circuits and isolation."""
        return {"requests": self._pool.release(function)}

    def kill(self, worker: int) -> dict[str, int]:
        """Ends a worker; its call raises WorkerKilled, another one takes its place."""
        pid = self._pid_of(worker)
        pidfd = os.pidfd_open(pid)  # from here on the number cannot mean another process
        try:
            if self._pid_of(worker) != pid:
                raise LookupError(f"worker {worker} has ended")
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
        return {"pid": pid}

    def dump(self, worker: int) -> dict[str, Any]:
        """The stacks of a living worker."""
        pid = self._pid_of(worker)
        return {"worker": worker, "pid": pid, "stack": self._pool.dump(worker)}

    def rotate(self) -> bool:
        """Begins a new file of the audit log with the next event."""
        self._pool._operations.rotate()
        return True

    def _pid_of(self, worker: int) -> int:
        for one in self._pool.workers():
            if one.id == worker and one.pid:
                return one.pid
        known = ", ".join(str(one.id) for one in self._pool.workers()) or "none"
        raise LookupError(f"there is no worker {worker}; there are: {known}")
