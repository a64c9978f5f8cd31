"""What one caller does in a storm: each move makes calls and checks how every one of them ends.

A call ends as it must, or with the death of its worker by a hand from outside: those are
counted, and the storm compares them with how often it struck.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from stress.storm_log import Log

from pyproc import Future, Pool, errors

#: Seconds after which a call that has not ended hangs.
DEADLINE = 90.0
CRASHES: dict[str, tuple[type[errors.WorkerDied], int | None]] = {
    "segv": (errors.WorkerCrashed, signal.SIGSEGV),
    "abort": (errors.WorkerCrashed, signal.SIGABRT),
    "exit": (errors.WorkerExited, None),
    "kill": (errors.WorkerKilled, signal.SIGKILL),
    "close": (errors.WorkerExited, None),
}
HANGS = ("sleep", "regex", "held", "deaf", "stopped", "child", "thread")
CAUSES = ("signal", "keeper", "stopped", "host", "oom")


def struck(error: BaseException) -> bool:
    """Whether the storm's own hand may have ended the worker."""
    if isinstance(error, errors.WorkerKilled):
        return error.cause in CAUSES
    return isinstance(error, errors.WorkerCrashed) and error.signal == signal.SIGSEGV


class Caller:
    """One thread's moves, its own random numbers and its own file of what was run."""

    def __init__(self, pool: Pool, log: Log, seed: int, folder: Path, number: int) -> None:
        self._pool = pool
        self._log = log
        self._random = random.Random(f"{seed}/{number}")
        self._path = str(folder / f"marks-{number}")
        self._keys = 0
        #: Keys whose calls answered, so that ran once; and those that ran once at most.
        self._answered: set[int] = set()
        self._maybe: set[int] = set()
        self._moves: list[tuple[int, Callable[[], None]]] = [
            (30, self.plain),
            (10, self.marked),
            (10, self.queued),
            (6, self.large),
            (5, self.crash),
            (4, self.exception),
            (3, self.hang),
            (3, self.cancelled),
            (3, self.killed),
            (3, self.mapped),
            (3, self.awaited),
            (2, self.printed),
            (1, self.leak),
        ]

    def step(self) -> None:
        """One move."""
        weights = [weight for weight, _ in self._moves]
        ((_, move),) = self._random.choices(self._moves, weights)
        self._log.count(f"moves.{move.__name__}")
        move()

    def check(self, what: str, end: Any, *expected: Any) -> None:
        """One call's end against its expected value, or the expected kinds of errors."""
        self._log.count("ends")
        for wanted in expected:
            if isinstance(wanted, type):
                if isinstance(end, wanted):
                    return
            elif type(end) is type(wanted) and end == wanted:
                return
        if isinstance(end, BaseException) and struck(end):
            self._log.count("struck")
            return
        self._log.blame(f"{what} ended as {end!r:.1500}, not as {expected!r:.200}")

    def end_of(self, future: Future) -> Any:
        """The value, or the error."""
        try:
            error = future.exception(DEADLINE)
        except CancelledError as cancelled:
            return cancelled
        except TimeoutError:
            self._log.count("hung")
            return AssertionError("it hangs")
        return future.result() if error is None else error

    def call(self, function: str, *args: Any, **options: Any) -> Any:
        """The value, or the error, of a leased call."""
        try:
            return self._pool.options(**options).call(function, *args)
        except Exception as error:
            return error

    # ---- moves ----

    def plain(self) -> None:
        for _ in range(self._random.randint(1, 20)):
            a, b = self._random.randrange(10**6), self._random.randrange(10**6)
            self.check("add", self.call("add", a, b), a + b)

    def key(self) -> int:
        self._keys += 1
        return self._keys

    def settle(self, key: int, end: Any) -> None:
        """What an end says of whether the function was run."""
        (self._answered if end == key and type(end) is int else self._maybe).add(key)

    def marked(self) -> None:
        for _ in range(self._random.randint(1, 5)):
            key = self.key()
            end = self.call("mark", self._path, key, self._random.choice([0.0, 0.002]))
            self.settle(key, end)
            self.check("mark", end, key)

    def queued(self) -> None:
        keys = [self.key() for _ in range(self._random.randint(1, 60))]
        calls = self._pool.options(priority=self._random.randint(-3, 3))
        futures = [calls.submit("mark", self._path, key) for key in keys]
        for key, future in zip(keys, futures, strict=True):
            end = self.end_of(future)
            self.settle(key, end)
            self.check("queued mark", end, key)

    def large(self) -> None:
        data = self._random.randbytes(self._random.choice([10, 70_000, 1_000_000, 6_000_000]))
        if self._random.random() < 0.5:
            end = self.call("reverse", data)
        else:
            end = self.end_of(self._pool.submit("reverse", data))
        if isinstance(end, bytes):
            end = end == data[::-1]
        self.check(f"reverse of {len(data)}", end, True)

    def crash(self) -> None:
        how = self._random.choice(sorted(CRASHES))
        if self._random.random() < 0.5:
            end = self.call("crash", how)
        else:
            end = self.end_of(self._pool.submit("crash", how))
        kind, number = CRASHES[how]
        self._log.count("own deaths")
        self.check(f"crash {how}", end, kind)
        if isinstance(end, kind) and end.signal != number and not struck(end):
            self._log.blame(f"crash {how}: signal {end.signal} in {end!r:.300}")

    def exception(self) -> None:
        n = self._random.randrange(10**6)
        end = self.call("refuse", n)
        self.check("refuse", end, ValueError)
        if isinstance(end, ValueError) and str(end) != f"refused {n}":
            self._log.blame(f"refuse {n}: {end!r:.300}")

    def hang(self) -> None:
        how = self._random.choice(HANGS)
        timeout = self._random.choice([0.02, 0.1, 0.3])
        self._log.count("own deaths")
        self.check(f"hang {how}", self.call("hang", how, timeout=timeout), errors.TaskTimeout)

    def cancelled(self) -> None:
        keys = [self.key() for _ in range(30)]
        futures = [self._pool.submit("mark", self._path, key, 0.001) for key in keys]
        refused = {future for future in self._random.sample(futures, 20) if not future.cancel()}
        for key, future in zip(keys, futures, strict=True):
            if future in refused and future.cancelled():
                self._log.blame("a future that said no to cancel() was cancelled")
            if future.cancelled():
                self._maybe.add(key)
                continue
            end = self.end_of(future)
            self.settle(key, end)
            self.check("mark beside cancelled ones", end, key)

    def killed(self) -> None:
        future = self._pool.submit("nap", 60.0)
        others = [self._pool.submit("add", n, 1) for n in range(10)]
        if self._random.random() < 0.5:
            self.check("add", self.call("add", 1, 2), 3)
        future.kill()
        self._log.count("own deaths")
        self.check("killed nap", self.end_of(future), errors.TaskKilled)
        for n, other in enumerate(others):
            self.check("add behind a killed call", self.end_of(other), n + 1)

    def mapped(self) -> None:
        size = self._random.choice([20, 300, 2000])
        plan = {
            self._random.randrange(size): self._random.choice(sorted(CRASHES))
            for _ in range(self._random.randint(0, 4))
        }
        keys = [self.key() for _ in range(size)]
        items = [(self._path, key, plan.get(n, "")) for n, key in enumerate(keys)]
        ends = list(self._pool.map("mark_item", items, return_exceptions=True, timeout=DEADLINE))
        self._log.count("own deaths", len(plan))
        if len(ends) != size:
            self._log.blame(f"a map of {size} items yielded {len(ends)}")
        for n, (key, end) in enumerate(zip(keys, ends, strict=False)):
            self.settle(key, end)
            self.check(f"item {n} of {size}", end, CRASHES[plan[n]][0] if n in plan else key)

    def awaited(self) -> None:
        seconds = self._random.choice([0.001, 0.01, 0.05])

        async def stopped() -> object:
            try:
                async with asyncio.timeout(seconds):
                    return await self._pool.acall("nap", 60.0)
            except Exception as error:
                return error

        async def both() -> list[Any]:
            calls = [self._pool.acall("add", n, n) for n in range(10)]
            return await asyncio.gather(stopped(), *calls, return_exceptions=True)

        self._log.count("own deaths")
        first, *others = asyncio.run(both())
        self.check("cancelled acall", first, TimeoutError)
        for n, end in enumerate(others):
            self.check("acall", end, 2 * n)

    def printed(self) -> None:
        lines = self._random.choice([1, 50, 2000])
        self.check("talk", self.call("talk", lines), lines)

    def leak(self) -> None:
        self._log.count("own deaths")
        self.check("leak", self.call("leak", 4096), errors.MemoryLimitExceeded)

    # ---- the end ----

    def account(self) -> None:
        """Compares what was run with what was answered: once, or once at most."""
        data = Path(self._path).read_bytes() if os.path.exists(self._path) else b""
        runs = Counter(int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data), 8))
        for key in self._answered:
            if runs[key] != 1:
                self._log.blame(f"key {key} was answered and ran {runs[key]} times")
        for key in self._maybe:
            if runs[key] > 1:
                self._log.blame(f"key {key} was not answered and ran {runs[key]} times")
        self._log.count("marks", len(self._answered))
