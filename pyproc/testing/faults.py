"""Faults that tests ask for, on the host: a plan that workers read, and the calls that they count.

A plan is a directory that the host made; its name reaches workers in the variable PYPROC_FAULTS,
which nothing but a test sets and a pool's scrubbed environment otherwise keeps out. A file
counts the calls of each function, one byte a call, over all workers of all pools, so that "the
third call" means the same one after a worker has died. `inject.py` is the worker's side.
"""

from __future__ import annotations

import json
import os
import shutil
import signal as signals
import tempfile
from typing import Any, Self

from pyproc import config
from pyproc.testing.inject import PLAN, VARIABLE, count_file


class Faults:
    """What goes wrong in workers, and when; used as a context manager.

    Each method takes the exposed function's name and `call`: which call of it the fault strikes,
    counted from now over all workers: a number from 1 (the default), a list of numbers, or
    "every". Pools must be opened inside the context; faults may be added while they work. One
    thread; one Faults at a time.
    """

    def __init__(self) -> None:
        self._directory = ""
        self._plan: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        if VARIABLE in os.environ:
            raise RuntimeError("there are faults already: only one pyproc_faults can be active")
        self._directory = tempfile.mkdtemp(prefix="pyproc-faults-")
        os.environ[VARIABLE] = self._directory
        self._allowed = config.ENVIRONMENT_ALLOWED
        config.ENVIRONMENT_ALLOWED = (*self._allowed, VARIABLE)
        self._writable = config.WRITABLE
        config.WRITABLE = (*self._writable, os.path.realpath(self._directory))
        return self

    def __exit__(self, *_: object) -> None:
        config.ENVIRONMENT_ALLOWED = self._allowed
        config.WRITABLE = self._writable
        os.environ.pop(VARIABLE, None)
        shutil.rmtree(self._directory, ignore_errors=True)

    def crash(self, function: str, *, call: Any = 1, signal: int | str = "SIGSEGV") -> None:
        """The worker dies by a signal: WorkerCrashed (WorkerKilled for SIGKILL)."""
        number = getattr(signals, signal, None) if isinstance(signal, str) else signal
        if number not in set(signals.Signals):
            raise ValueError(f"crash(signal={signal!r}): there is no such signal")
        self._add("crash", function, call, signal=int(number))

    def exit(self, function: str, *, call: Any = 1, code: int = 1) -> None:
        """The worker leaves with an exit code: WorkerExited."""
        if not isinstance(code, int) or not 0 <= code <= 255:
            raise ValueError(f"exit(code={code!r}): a number from 0 to 255 is needed")
        self._add("exit", function, call, code=code)

    def hang(self, function: str, *, call: Any = 1) -> None:
        """The call never ends: a TaskTimeout where there is a time limit."""
        self._add("hang", function, call)

    def slow(self, function: str, seconds: float, *, call: Any = 1) -> None:
        """The call waits before it begins."""
        config.check_seconds(seconds, "slow(seconds=)")
        self._add("slow", function, call, seconds=float(seconds))

    def leak(
        self, function: str, *, call: Any = 1, size: int | str = "16MiB", descriptors: int = 0
    ) -> None:
        """The worker keeps memory, resident, and descriptors from then on; the call works."""
        if not isinstance(descriptors, int) or descriptors < 0:
            raise ValueError(f"leak(descriptors={descriptors!r}): a number from 0 is needed")
        size = config.parse_size(size, "leak(size=)")
        self._add("leak", function, call, size=size, descriptors=descriptors)

    def oom(self, function: str, *, call: Any = 1, at_most: int | str = "1GiB") -> None:
        """The call takes memory until Limits(memory=) ends it (MemoryLimitExceeded). At `at_most`
        it gives up with a MemoryError: without a limit the machine shall not suffer."""
        self._add("oom", function, call, size=config.parse_size(at_most, "oom(at_most=)"))

    def torn_frame(self, function: str, *, call: Any = 1) -> None:
        """The worker sends a part of an answer, and then nothing more, and ends."""
        self._add("torn_frame", function, call)

    def calls(self, function: str) -> int:
        """How often workers began to run the function."""
        try:
            return os.stat(self._counter(function)).st_size
        except FileNotFoundError:
            return 0

    def _counter(self, function: str) -> str:
        if not self._directory:
            raise RuntimeError("faults are given inside `with Faults() as faults:`")
        return os.path.join(self._directory, count_file(function))

    def _add(self, kind: str, function: str, call: Any, **more: Any) -> None:
        if not isinstance(function, str) or not function:
            raise TypeError(f"{kind}(): the name of an exposed function is needed")
        begun = self.calls(function)
        numbers: list[int] | None = None
        if call != "every":
            wanted = [call] if isinstance(call, int) else list(call)
            if not wanted or not all(type(one) is int and one >= 1 for one in wanted):
                raise ValueError(f"{kind}(call={call!r}): numbers from 1, or 'every'")
            numbers = [begun + one for one in wanted]
        fault = {"kind": kind, "function": function, "calls": numbers, "after": begun, **more}
        self._plan.append(fault)
        scratch = os.path.join(self._directory, "new")
        with open(scratch, "w") as file:
            json.dump(self._plan, file)
        os.replace(scratch, os.path.join(self._directory, PLAN))
