"""Frozen options of a pool: checked once, before anything starts.

Sizes are bytes, as an int or as text with a binary unit ("64MiB"); times are seconds.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

UNLIMITED = 2**64 - 1
EXACT_TASKS = 32  # PP_EXACT_TASKS of csrc/pool/life.h

# Names of environment variables that reach workers besides the core's allow-list; read at call
# time, so that the tests of a sanitised build can hand on what its runtime needs.
ENVIRONMENT_ALLOWED: tuple[str, ...] = ()
# Directories that workers in baseline may write to besides; of the pytest plugin, read likewise.
WRITABLE: tuple[str, ...] = ()

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


def check_count(value: object, name: str, least: int) -> None:
    """Refuses what is neither None nor an int from `least` on."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: an int or None is needed")
    if not least <= value < UNLIMITED:
        raise ValueError(f"{name}={value}: {least} or more is needed; None means no limit of ours")


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


# What an interpreter needs to start and answer, measured with 3.11 to 3.13 and both start methods
# (docs/design/limits.md), with room for an application.
OPEN_FILES_LEAST = 16
ADDRESS_SPACE_LEAST = 64 * 2**20
STACK_LEAST = 256 * 2**10
FILE_SIZE_LEAST = 64 * 2**10
CPUS_MAX = 1024  # PP_CPUS_MAX of csrc/security/policy.h


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What each worker and each call may use; None: no limit of ours.

    memory: bytes that a worker and all that it starts may hold beyond what it held before its
    first call; looked after while calls run, MemoryLimitExceeded. cpu_time: seconds of processor
    time that one call may use, CPUTimeExceeded. processes: that a worker has started and that still
    run, children's children too, ProcessLimitExceeded; with 0 the kernel refuses any, a
    PermissionError. threads: beyond those that the worker had before its first call, in all its
    processes, ThreadLimitExceeded. result_size: bytes of one result (None: 256 MiB, of which 16 MiB
    are no large buffers), ResultTooLarge. output: bytes
    that one call may write to stdout and stderr together, OutputLimitExceeded.

    The others are the kernel's, hard = soft, and refuse inside the function: address_space (bytes;
    MemoryError), open_files (descriptors; OSError), file_size (bytes of a written file; OSError),
    stack (bytes; the worker crashes), core (bytes of a core dump). nice: 0 to 19, added to the
    host's. cpus: how many CPUs each worker runs on, or the set of CPU numbers that all share;
    numeric libraries then start as many threads.
    """

    memory: int | str | None = None
    cpu_time: float | None = None
    address_space: int | str | None = None
    core: int | str = 0
    file_size: int | str | None = None
    open_files: int | None = 1024
    stack: int | str | None = None
    processes: int | None = None
    threads: int | None = None
    result_size: int | str | None = None
    output: int | str | None = None
    nice: int = 0
    cpus: int | Collection[int] | None = None

    def __post_init__(self) -> None:
        for name in ("address_space", "core", "file_size", "stack", "result_size"):
            if getattr(self, name) is not None or name == "core":
                parse_size(getattr(self, name), f"Limits.{name}")
        check_seconds(self.cpu_time, "Limits.cpu_time")
        nice = self.nice
        if isinstance(nice, bool) or not isinstance(nice, int) or not 0 <= nice <= 19:
            raise ValueError(f"Limits(nice={nice!r}): nice is an int from 0 to 19")
        if self.memory is not None:
            memory_size(self.memory, "Limits.memory")
        if self.output is not None:
            at_least_one(self.output, "Limits.output")
        check_count(self.open_files, "Limits.open_files", 0)
        check_count(self.processes, "Limits.processes", 0)
        check_count(self.threads, "Limits.threads", 0)
        self._check_needs()
        if isinstance(self.cpus, Collection):
            object.__setattr__(self, "cpus", frozenset(self.cpus))
        check_cpus(self.cpus)

    def _check_needs(self) -> None:
        """Refuses what no interpreter could start with."""
        needs = (
            ("open_files", OPEN_FILES_LEAST, "an interpreter needs at least 16 descriptors"),
            ("address_space", ADDRESS_SPACE_LEAST, "an interpreter needs at least 64MiB"),
            ("stack", STACK_LEAST, "an interpreter needs at least 256KiB"),
            ("file_size", FILE_SIZE_LEAST,
             "at least 64KiB is needed: the fault handler writes its report in a file"),
        )  # fmt: skip
        for name, least, why in needs:
            value = getattr(self, name)
            if value is not None and parse_size(value, f"Limits.{name}") < least:
                raise ValueError(f"Limits({name}={value!r}): {why}")

    def as_core(self) -> dict[str, Any]:
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
            "limit_processes": size("processes"),
            "limit_threads": size("threads"),
            "nice": self.nice,
            **self._cpus_as_core(),
        }

    def _cpus_as_core(self) -> dict[str, Any]:
        if self.cpus is None:
            return {}
        count = self.cpus if isinstance(self.cpus, int) else 0
        chosen = os.sched_getaffinity(0) if isinstance(self.cpus, int) else self.cpus
        mask = sum(1 << cpu for cpu in chosen if cpu < CPUS_MAX)
        return {"cpus": mask.to_bytes(CPUS_MAX // 8, "little"), "cpus_each": count}

    @property
    def cpu_count(self) -> int | None:
        """How many CPUs a worker has by `cpus`; None: as many as the host."""
        return self.cpus if self.cpus is None or isinstance(self.cpus, int) else len(self.cpus)


def check_cpus(cpus: object) -> None:
    """Refuses a number or a set of CPUs that this process could not run on itself."""
    if cpus is None:
        return
    usable = os.sched_getaffinity(0)
    if isinstance(cpus, bool) or not isinstance(cpus, int | frozenset):
        raise TypeError(f"Limits(cpus={cpus!r}): a number of CPUs or a set of their numbers")
    if isinstance(cpus, int):
        if not 1 <= cpus <= len(usable):
            raise ValueError(f"Limits(cpus={cpus}): from 1 to {len(usable)} CPUs are usable here")
        return
    wrong = [cpu for cpu in cpus if isinstance(cpu, bool) or not isinstance(cpu, int)]
    if wrong or not cpus:
        raise TypeError("Limits(cpus=): a set holds numbers of CPUs, at least one")
    if not cpus <= usable:
        raise ValueError(
            f"Limits(cpus=): CPUs {sorted(cpus - usable)} are not usable here, these are: "
            f"{sorted(usable)}"
        )


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
