"""Frozen options of a pool: checked once, before anything starts.

Sizes are bytes, as an int or as text with a binary unit ("64MiB"); times are seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

UNLIMITED = 2**64 - 1
EXACT_TASKS = 32  # PP_EXACT_TASKS of csrc/pool/life.h

# Names of environment variables that reach workers besides the core's allow-list; read at call
# time, so that the tests of a sanitised build can hand on what its runtime needs.
ENVIRONMENT_ALLOWED: tuple[str, ...] = ()

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(value: object, name: str) -> int:
    """Bytes of `value`; ValueError or TypeError names the field."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{name} is a number of bytes or text like '64MiB', not {value!r}")
    if isinstance(value, str):
        text = value.strip().upper()
        digits = text.rstrip("BIKMGT")
        unit = text[len(digits) :]
        if not digits.strip().isdigit() or unit not in _UNITS:
            raise ValueError(f"{name}={value!r}: a size is digits and one of B, KiB, MiB, GiB, TiB")
        value = int(digits) * _UNITS[unit]
    if not 0 <= value < UNLIMITED:
        raise ValueError(f"{name}={value}: a size is at least 0 and below 2**64-1")
    return value


def memory_size(value: object, name: str) -> int:
    """Bytes of a memory limit: less than 1 MiB is surely a slip."""
    size = parse_size(value, name)
    if size < 2**20:
        raise ValueError(f"{name}={value!r}: at least 1MiB is needed")
    return size


def at_least_one(value: object, name: str) -> int:
    """Bytes of a limit that has to let something through."""
    size = parse_size(value, name)
    if size < 1:
        raise ValueError(f"{name}={value!r}: at least 1 byte is needed; None means no limit")
    return size


def check_seconds(value: object, name: str) -> None:
    """Refuses what is neither None nor a number of seconds above 0."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
    if not value > 0:
        raise ValueError(f"{name}={value}: a time is above 0 seconds; None means no limit")


def check_deadline(value: object) -> None:
    """Refuses what is neither None nor a moment of time.monotonic()."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"deadline is a moment of time.monotonic() or None, not {value!r}")
    if not value > 0:
        raise ValueError(f"deadline={value}: a moment of time.monotonic() is above 0")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What each worker and each call may use; None: no limit of ours.

    memory: bytes that a worker and all that it starts may hold beyond what it held before its
    first call; looked after while calls run, MemoryLimitExceeded. cpu_time: seconds of processor
    time that one call may use, CPUTimeExceeded. The others are set by setrlimit(2), hard = soft:
    address_space, file_size, stack, core: bytes. open_files: descriptors. result_size: bytes of
    one result, ResultTooLarge. output: bytes that one call may write to stdout and stderr together,
    OutputLimitExceeded. nice: 0 to 19, added to the host's.
    """

    memory: int | str | None = None
    cpu_time: float | None = None
    address_space: int | str | None = None
    core: int | str = 0
    file_size: int | str | None = None
    open_files: int | None = 1024
    stack: int | str | None = None
    result_size: int | str | None = None
    output: int | str | None = None
    nice: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "cpu_time":
                check_seconds(value, "Limits.cpu_time")
            elif field.name == "nice":
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 19:
                    raise ValueError(f"Limits(nice={value!r}): nice is an int from 0 to 19")
            elif value is not None:
                parse_size(value, f"Limits.{field.name}")
        if self.memory is not None:
            memory_size(self.memory, "Limits.memory")
        if self.output is not None:
            at_least_one(self.output, "Limits.output")
        if self.open_files is not None and self.open_files < 16:
            raise ValueError("Limits(open_files): an interpreter needs at least 16 descriptors")
        if self.file_size is not None and parse_size(self.file_size, "") < 64 * 1024:
            raise ValueError(
                "Limits(file_size): at least 64KiB; the fault handler writes its report in a file"
            )

    def as_core(self) -> dict[str, int | float]:
        """The core's numbers."""

        def size(name: str) -> int:
            value = getattr(self, name)
            return UNLIMITED if value is None else parse_size(value, name)

        return {
            "limit_memory": 0 if self.memory is None else memory_size(self.memory, "Limits.memory"),
            "limit_output": 0 if self.output is None else parse_size(self.output, "Limits.output"),
            **({} if self.cpu_time is None else {"limit_cpu": self.cpu_time}),
            "limit_address_space": size("address_space"),
            "limit_core": size("core"),
            "limit_file_size": size("file_size"),
            "limit_open_files": size("open_files"),
            "limit_stack": size("stack"),
            "nice": self.nice,
        }


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds; None: no limit. start: until a worker is ready. queue: until a call gets a worker.
    task: how long a call may run. grace: with more than 0, a call that is to stop is first asked:
    TaskTimeout or TaskKilled is raised inside the function, and its worker is killed only when it
    has not ended after so many seconds; with 0 the worker is killed at once."""

    start: float | None = 30
    queue: float | None = None
    task: float | None = None
    grace: float = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "grace":
                check_seconds(value, f"Timeouts.{field.name}")
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"Timeouts.grace is a number of seconds, not {value!r}")
            elif not 0 <= value < float("inf"):
                raise ValueError(f"Timeouts(grace={value}): 0 seconds (no grace) or more is needed")


@dataclass(frozen=True, kw_only=True)
class Recycle:
    """When a worker is replaced by a fresh one; None: never for that reason.

    max_tasks: calls, each item of a map counted. 1 gives each call a process of its own, from a
    stock that is kept ready; up to 32 the number is exact. Above it a worker goes on until its
    replacement is ready, which is started ahead, and does twice as many at most (and the rest of
    one chunk of a map) where a start takes less than 0.2 s.
    max_memory: bytes resident, looked at after a task. max_age: seconds since it was ready.
    jitter: a part of max_tasks and max_age, from 0 to below 1, by which a worker may be early, so
    that workers that were started together are not replaced together.
    """

    max_tasks: int | None = None
    max_memory: int | str | None = None
    max_age: float | None = None
    jitter: float = 0.1

    def __post_init__(self) -> None:
        tasks, jitter = self.max_tasks, self.jitter
        if tasks is not None and (isinstance(tasks, bool) or not isinstance(tasks, int)):
            raise TypeError(f"Recycle(max_tasks={tasks!r}): an int or None is needed")
        if tasks is not None and not 1 <= tasks < 2**63:
            raise ValueError(f"Recycle(max_tasks={tasks}): 1 or more, or None, is needed")
        if self.max_memory is not None and parse_size(self.max_memory, "Recycle.max_memory") < 1:
            raise ValueError("Recycle(max_memory=0): 1 byte or more, or None, is needed")
        check_seconds(self.max_age, "Recycle.max_age")
        if isinstance(jitter, bool) or not isinstance(jitter, int | float):
            raise TypeError(f"Recycle(jitter={jitter!r}): a number is needed")
        if not 0 <= jitter < 1:
            raise ValueError(f"Recycle(jitter={jitter}): a part from 0 to below 1 is needed")

    @property
    def chunk_max(self) -> int | None:
        """How many items of a map may travel together; None: any number."""
        if self.max_tasks is None:
            return None
        return 1 if self.max_tasks <= EXACT_TASKS else self.max_tasks // 8

    def as_core(self) -> dict[str, Any]:
        """The core's numbers."""
        memory = self.max_memory
        return {
            "recycle_tasks": self.max_tasks or 0,
            "recycle_memory": 0 if memory is None else parse_size(memory, "Recycle.max_memory"),
            "recycle_age": self.max_age,
            "recycle_jitter": int(self.jitter * 1_000_000),
        }


def usable_cpus() -> int:
    """CPUs that this process may use: affinity, and the cgroup's quota (rounded up)."""
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)
