"""Pool's options turned into the core's keys; every refusal names the option and what would do."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pyproc import config
from pyproc._forked import Reopens
from pyproc.config import Limits, Recycle, Timeouts
from pyproc.target import import_path

MAX_RESULT = 256 * 2**20  # without Limits(result_size=)
MAX_FRAME = 16 * 2**20  # bytes; design: below 0x50590000


def worker_counts(
    workers: int | None, min_workers: int | None, max_workers: int | None
) -> tuple[int, int]:
    """Least and most workers of the three options."""
    for name, value in (
        ("workers", workers), ("min_workers", min_workers), ("max_workers", max_workers)
    ):  # fmt: skip
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}={value!r}: an int is needed")
        if not 1 <= value <= 4096:
            raise ValueError(f"{name}={value}: from 1 to 4096 workers are possible")
    if workers is not None and (min_workers is not None or max_workers is not None):
        raise ValueError("workers= and min_workers=/max_workers= contradict: use one of the two")
    most = workers or max_workers or max(config.usable_cpus(), min_workers or 1)
    least = min_workers or 1
    if least > most:
        raise ValueError(f"min_workers={least} is more than max_workers={most}")
    return least, most


def interpreter(
    python: str | os.PathLike[str] | None, path: Iterable[str] | None
) -> dict[str, Any]:
    """The interpreter to run, its path, and what it must report about itself."""
    if isinstance(path, str):
        raise TypeError("path= is a list of directories, not one string")
    if path is None:
        entries = import_path()
    else:  # the empty one: then the interpreter's own, its library among them
        entries = [*(os.path.abspath(os.fspath(entry)) for entry in path), ""]
    if python is None:
        return {
            "python": sys.executable,
            "path": entries,
            "prefix": sys.prefix,
            "base_prefix": sys.base_prefix,
            "python_version": ".".join(map(str, sys.version_info[:3])),
        }
    file = os.path.abspath(os.fspath(python))
    if not os.access(file, os.X_OK):
        raise FileNotFoundError(f"python={os.fspath(python)!r}: there is no such executable")
    return {"python": file, "path": entries if path is not None else []}


START_METHODS = {"exec": 0, "template": 1, "auto": 2}


def start(start_method: str, preload: Iterable[str], also: list[str]) -> dict[str, Any]:
    """How workers are made, and modules that they import first."""
    if start_method not in START_METHODS:
        raise ValueError(f"start_method={start_method!r}: 'auto', 'template' or 'exec' is needed")
    if isinstance(preload, str):
        raise TypeError("preload= is a list of names of modules, not one string")
    names = [*preload, *also]
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"preload: {name!r} is not the name of a module")
    return {"start_method": START_METHODS[start_method], "preload": names}


def seconds(timeouts: Timeouts) -> dict[str, float | None]:
    """The time limits; None: no limit."""
    return {
        "start_timeout": timeouts.start,
        "queue_timeout": timeouts.queue,
        "task_timeout": timeouts.task,
        **({"grace": timeouts.grace} if timeouts.grace else {}),
    }


def queue_limits(max_queue: int | None, max_queue_bytes: int | str | None) -> dict[str, int]:
    """Calls and bytes that may wait; 0: no limit."""
    if max_queue is not None and (not isinstance(max_queue, int) or max_queue < 1):
        raise ValueError(f"max_queue={max_queue!r}: 1 call or more, or None, is needed")
    size = 0 if max_queue_bytes is None else config.parse_size(max_queue_bytes, "max_queue_bytes")
    if max_queue_bytes is not None and size < 1:
        raise ValueError("max_queue_bytes: 1 byte or more, or None for no limit, is needed")
    return {"max_queue": max_queue or 0, "max_queue_bytes": size}


IN_FLIGHT_MAX = 1000


def in_flight(number: int) -> int:
    """Async calls that a worker runs side by side."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"max_in_flight={number!r}: an int is needed")
    if not 1 <= number <= IN_FLIGHT_MAX:
        raise ValueError(f"max_in_flight={number}: from 1 to {IN_FLIGHT_MAX} calls are possible")
    return number


def priority_step(seconds: float) -> float:
    """Seconds of waiting that outweigh one step of priority."""
    if seconds is None:
        raise TypeError("priority_step=None: seconds are needed; with math.inf nobody ages")
    config.check_seconds(seconds, "priority_step")
    return seconds


def recycle(recycle: Recycle | None, limits: Limits) -> dict[str, Any]:
    """When workers are replaced, checked against what they may use."""
    recycle = recycle or Recycle()
    if not isinstance(recycle, Recycle):
        raise TypeError(f"recycle={recycle!r}: a pyproc.Recycle is needed")
    limit = getattr(limits, "memory", None)
    if recycle.max_memory is not None and limit is not None:
        most = config.parse_size(recycle.max_memory, "Recycle.max_memory")
        if most >= config.parse_size(limit, "Limits.memory"):
            raise ValueError(
                f"Recycle(max_memory={recycle.max_memory!r}) contradicts Limits(memory={limit!r}): "
                "a worker that reaches the limit is killed; recycle it below that"
            )
    return recycle.as_core()


#: Of pools that are given a minimum or a maximum.
IDLE_SECONDS = 10.0


def idle_timeout(
    seconds: float | Literal["auto"] | None, min_workers: int | None, max_workers: int | None
) -> dict[str, float | None]:
    """Seconds after which idle workers above the minimum leave; None: they stay."""
    if seconds == "auto":
        elastic = min_workers is not None or max_workers is not None
        return {"idle_timeout": IDLE_SECONDS if elastic else None}
    config.check_seconds(seconds, "idle_timeout")
    return {"idle_timeout": seconds}


def sticky(options: dict[str, Any] | None, key: object) -> dict[str, Any] | None:
    """The same for calls with a key: a number for it, which two keys hardly ever share."""
    if key is None:
        return options
    import hashlib

    digest = hashlib.blake2b(str(key).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "big") & (2**63 - 1)  # the others are actors'
    return {**(options or {}), "key": number or 1}


def rare(
    priority: int,
    deadline: float | None,
    memory: int | str | None,
    cpu_time: float | None,
    output: int | str | None,
    result_size: int | str | None,
    pool_limits: tuple[int | None, int],
) -> dict[str, Any] | None:
    """A call's options that few calls have; None: it has none."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority={priority!r}: an int is needed")
    if not -100 <= priority <= 100:
        raise ValueError(f"priority={priority}: from -100 to 100 are possible; higher is first")
    config.check_deadline(deadline)
    options: dict[str, Any] = {}
    if priority:
        options["priority"] = priority
    if deadline is not None:
        options["deadline"] = deadline
    if memory is not None:
        options["memory"] = config.memory_size(memory, "memory")
        if pool_limits[0] is not None and options["memory"] > pool_limits[0]:
            raise ValueError(
                f"memory={memory!r} is above the pool's Limits(memory={pool_limits[0]}): the "
                "kernel holds its workers to that; a call may have less"
            )
    if cpu_time is not None:
        config.check_seconds(cpu_time, "cpu_time")
        options["cpu_time"] = cpu_time
    if output is not None:
        options["output"] = config.at_least_one(output, "output")
    if result_size is not None:
        options["result_size"] = config.at_least_one(result_size, "result_size")
        if options["result_size"] > pool_limits[1]:
            raise ValueError(
                f"result_size={result_size!r} is above the pool's {pool_limits[1]} bytes, see "
                "Limits(result_size=); a call may have less"
            )
    return options or None


def function(value: Any, name: str) -> Any:
    """A function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={value!r}: a function, or None, is needed")
    return value


def streaming(item_timeout: float | None, buffersize: int | None) -> dict[str, Any]:
    """Options that only streams have, by the core's names."""
    options: dict[str, Any] = {}
    if item_timeout is not None:
        config.check_seconds(item_timeout, "item_timeout")
        options["item_timeout"] = item_timeout
    if buffersize is not None:
        if isinstance(buffersize, bool) or not isinstance(buffersize, int):
            raise TypeError(f"buffersize={buffersize!r}: an int, or None, is needed")
        if not 1 <= buffersize <= 2**32:
            raise ValueError(f"buffersize={buffersize}: 1 item or more, or None, is needed")
        options["stream_items"] = buffersize
    return options


def max_result(limits: Limits) -> int:
    """Bytes that one result may have, memory included; what is no buffer is a frame at most."""
    if limits.result_size is None:
        return MAX_RESULT
    size = config.parse_size(limits.result_size, "Limits.result_size")
    if not 1 <= size <= 2**46:
        raise ValueError(f"Limits(result_size): from 1 byte to {2**46} bytes are possible")
    return size


def buffers(threshold: int | str | None, stock: int | str) -> tuple[int | None, int]:
    """From which size on buffers go in memory, and how much of that is kept."""
    kept = config.parse_size(stock, "buffer_stock")
    if threshold is None:
        return None, kept
    size = config.parse_size(threshold, "buffer_threshold")
    if size < 4096:
        raise ValueError(
            f"buffer_threshold={threshold!r}: 4096 bytes or more are needed (less is "
            f"faster through the socket), or None for never"
        )
    return size, kept


def refuse_limits(others: Iterable[str]) -> None:
    """Options of a call that are limits of the pool only; TypeError says where they belong."""
    of_a_call = {"memory", "cpu_time", "output", "result_size"}
    for name in others:
        if name in {field.name for field in dataclasses.fields(Limits)} - of_a_call:
            raise TypeError(
                f"options({name}=): this is a limit of the whole pool, see "
                f"Pool(limits=Limits({name}=...)); a call may have its own timeout, "
                f"{', '.join(sorted(of_a_call))}"
            )
        raise TypeError(f"options() has no option {name!r}")


def own_limits(limits: Limits) -> tuple[int | None, int]:
    """What no call's own limit may be above: memory (None: anything) and result_size."""
    memory = limits.memory
    most = None if memory is None else config.memory_size(memory, "Limits.memory")
    return most, max_result(limits)


#: What numeric libraries read when they are loaded, to know how many threads to start.
THREAD_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def environment(env: Mapping[str, str] | None, cpus: int | None = None) -> list[str]:
    """NAME=value entries, checked; with a number of CPUs, threads of numeric libraries to fit."""
    entries = []
    for name in THREAD_COUNTS if cpus is not None else ():
        host = os.environ.get(name, "")
        fewer = host.isdecimal() and 0 < int(host) <= (cpus or 0)
        if not fewer and name not in (env or {}):
            entries.append(f"{name}={cpus}")
    for name, value in (env or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"env={{{name!r}: ...}}: names and values are str")
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"env: {name!r} is no name of a variable, or its value holds a NUL")
        entries.append(f"{name}={value}")
    return entries


def after_fork(wanted: object, given: dict[str, Any]) -> Reopens | None:
    """What a forked copy opens anew with; None: it is closed."""
    if wanted == "close":
        return None
    if wanted != "reopen":
        raise ValueError(f"after_fork={wanted!r}: 'close' or 'reopen' is needed")
    return Reopens(given)
