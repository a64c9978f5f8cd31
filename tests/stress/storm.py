"""A seeded storm: every kind of call from many threads while everything that can break breaks.

    python -m tests.stress.storm --seconds 20 --seed 7 --workers 4 --threads 8

Callers (`storm_moves.py`) check each answer against its expected value. Meanwhile workers,
templates and keepers are killed, stopped and crashed from outside, the pool is resized and
reloaded, and ^C hits a blocked call. At the end nothing may hang, the pool must be as new, and
after its close no descriptor, process, zombie or thread may be left. Exit status: 0 when all that
held, else 1.
The same seed makes the same moves; when they meet is the machine's choice.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fix_leaks import settle, take_holdings
from stress.storm_log import Log
from stress.storm_moves import DEADLINE, Caller, struck

from pyproc import Limits, Pool, errors

APP = Path(__file__).parent / "apps" / "storming.py"


class Hand:
    """Strikes at the pool's processes from outside, and changes the pool."""

    def __init__(self, pool: Pool, log: Log, seed: int, workers: int, every: float) -> None:
        self._pool, self._log, self._workers, self._every = pool, log, workers, every
        self._random = random.Random(f"{seed}/hand")
        #: How many calls the strikes may have ended.
        self.most = 0

    def work(self, end: float) -> None:
        moves: list[tuple[int, Callable[[], None]]] = [
            (24, lambda: self.strike(signal.SIGKILL)),
            (6, lambda: self.strike(signal.SIGSEGV)),
            (5, lambda: self.strike(signal.SIGSTOP)),
            (3, self.template),
            (1, self.keeper),
            (3, self.resize),
            (1, self.reload),
        ]
        while time.monotonic() < end:
            time.sleep(self._random.uniform(0, 2 * self._every))
            ((_, move),) = self._random.choices(moves, [weight for weight, _ in moves])
            try:
                move()
            except Exception as error:
                self._log.blame(f"the hand: {error!r:.1500}")

    def _send(self, pid: int, number: int) -> bool:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            return True
        return False

    def strike(self, number: signal.Signals) -> None:
        """One worker, in whatever state it is."""
        pids = [worker.pid for worker in self._pool.workers() if worker.pid > 1]
        if pids and self._send(self._random.choice(pids), number):
            self.most += 1
            self._log.count(f"struck by {number.name}")

    def template(self) -> None:
        keeper = self._pool._core.keeper_pid()
        workers = {worker.pid for worker in self._pool.workers()}
        try:
            text = Path(f"/proc/{keeper}/task/{keeper}/children").read_text()
        except OSError:
            return  # no keeper at this moment
        # A worker that was forked just now is no template: it may cost a call as well.
        others = [int(word) for word in text.split() if int(word) not in workers]
        if others and self._send(self._random.choice(others), signal.SIGKILL):
            self.most += 1
            self._log.count("templates killed")

    def keeper(self) -> None:
        pid = self._pool._core.keeper_pid()
        if pid > 1 and self._send(pid, signal.SIGKILL):
            self.most += 2 * self._workers
            self._log.count("keepers killed")

    def resize(self) -> None:
        self._pool.resize(self._random.randint(1, 2 * self._workers))
        self._log.count("resized")

    def reload(self) -> None:
        """In the midst of strikes it may fail; the pool goes on with what it has."""
        try:
            self._pool.reload(timeout=20)
            self._log.count("reloaded")
        except (TimeoutError, errors.WorkerStartError):
            self._log.count("reloads given up")


def interrupted(pool: Pool, log: Log, seed: int, end: float) -> None:
    """The main thread: ^C in a blocked call, again and again."""
    chance = random.Random(f"{seed}/interrupt")
    while time.monotonic() < end:
        delay = chance.uniform(0.01, 0.3)
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        begin = time.monotonic()
        timer.start()
        try:
            try:
                pool.call("nap", 60.0)
                log.blame("a call that sleeps for a minute has answered")
            except errors.Error as error:
                if not struck(error):
                    log.blame(f"interrupted nap: {error!r:.500}")
                log.count("struck")
            # Its worker was killed before the interrupt came. In short steps: a signal that
            # comes just before the interpreter begins to sleep does not wake it.
            while time.monotonic() < begin + DEADLINE:
                time.sleep(0.01)
        except KeyboardInterrupt:
            log.count("interrupted")
            if time.monotonic() - begin > delay + 5:
                log.blame(f"^C took {time.monotonic() - begin - delay:.1f} s")
        timer.join()


def as_new(pool: Pool, workers: int, log: Log) -> None:
    """After the storm: nothing waits or runs, all workers serve."""
    pool.resize(workers)
    limit = time.monotonic() + DEADLINE
    futures = [pool.submit("nap", 0.05) for _ in range(4 * workers)]
    for future in futures:
        error = future.exception(DEADLINE)
        if error is not None and not struck(error):
            log.blame(f"after the storm: {error!r:.500}")
    while time.monotonic() < limit:
        stats = pool.stats()
        quiet = stats["calls_waiting"] == stats["calls_running"] == stats["queue_bytes"] == 0
        if quiet and 1 <= stats["workers"] == stats["workers_idle"] <= workers:
            break
        time.sleep(0.02)
    else:
        log.blame(f"the pool is not as new: {pool.stats()} {pool.workers()}")
    for n in range(100):
        if pool.call("add", n, 1) != n + 1:
            log.blame(f"after the storm {n} + 1 is something else")
    if not pool.health():
        log.blame(f"after the storm: {pool.health()}")


def callers_work(callers: list[Caller], log: Log, end: float) -> list[threading.Thread]:
    """A thread for each caller."""

    def work(caller: Caller) -> None:
        while time.monotonic() < end:
            try:
                caller.step()
            except BaseException as error:
                where = "".join(traceback.format_exception(error))[-1500:]
                log.blame(f"a move raised {error!r:.300}\n{where}")

    threads = [
        threading.Thread(target=work, args=(caller,), name=f"caller-{n}", daemon=True)
        for n, caller in enumerate(callers)
    ]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread], log: Log) -> bool:
    """Whether all have ended in time."""
    limit = time.monotonic() + 2 * DEADLINE
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
        if thread.is_alive():
            log.count("hung")
            log.blame(f"{thread.name} hangs")
    return not any(thread.is_alive() for thread in threads)


def storm(options: argparse.Namespace, folder: Path, log: Log) -> None:
    """The whole of it, in one pool."""
    limits = Limits(memory=options.memory)
    with Pool(APP, workers=options.workers, limits=limits, output="drop", sandbox="none") as pool:
        end = time.monotonic() + options.seconds
        callers = [
            Caller(pool, log, options.seed, folder, number) for number in range(options.threads)
        ]
        hand = Hand(pool, log, options.seed, options.workers, options.every)
        threads = callers_work(callers, log, end)
        threads.append(threading.Thread(target=hand.work, args=(end,), name="hand", daemon=True))
        threads[-1].start()
        interrupted(pool, log, options.seed, end)
        if not joined(threads, log):
            faulthandler.dump_traceback()
            print(pool.stats(), pool.workers(), file=sys.stderr)
            report(options, log)
            os._exit(1)
        as_new(pool, options.workers, log)
        for caller in callers:
            caller.account()
        if log.counters["struck"] > hand.most:
            log.blame(f"{log.counters['struck']} calls lost by {hand.most} strikes at most")
        for name, value in pool.stats().items():
            log.counters[f"pool.{name}"] = value


def report(options: argparse.Namespace, log: Log) -> None:
    """Seed and counters."""
    print(
        f"seed {options.seed}, {options.seconds} s, {options.workers} workers, "
        f"{options.threads} threads"
    )
    for name, value in sorted(log.counters.items()):
        print(f"  {name}: {value}")
    for words in log.wrong:
        print(f"WRONG: {words}")
    print("failed" if log.wrong else "all as it should be", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.stress.storm")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two strikes")
    parser.add_argument("--memory", default="96MiB", help="Limits(memory=) of the workers")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = Log()
    with Pool(APP, workers=1, sandbox="none") as pool:  # what a process loads once is no leak
        pool.submit("add", 1, 2).result(DEADLINE)
    before = take_holdings()
    with tempfile.TemporaryDirectory() as folder:
        storm(options, Path(folder), log)
    gc.collect()
    for line in settle(before):
        log.blame(f"left behind: {line}")
    report(options, log)
    return 1 if log.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
