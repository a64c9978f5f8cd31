"""Faults that tests ask for, in the worker: around the functions, between dispatch and user code.

Imported by a worker only where PYPROC_FAULTS names a plan's directory. What is done here is done
for real: signals, memory, bytes on the call's own channel.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

#: Names the variable that leads workers to a plan.
VARIABLE = "PYPROC_FAULTS"
PLAN = "plan.json"
_PIECE = 2**20
_kept: list[object] = []


def count_file(function: str) -> str:
    """The name of the file that counts a function's calls."""
    return hashlib.blake2b(function.encode(), digest_size=12).hexdigest()


def around(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the plan's faults before it. OSError: the plan cannot be used."""
    directory = os.environ[VARIABLE]
    counter = os.path.join(directory, count_file(name))
    if not os.access(directory, os.W_OK):
        raise PermissionError(
            f"pyproc_faults counts calls in {directory}, and this worker may not write there: "
            "its sandbox needs write= for that directory"
        )

    def struck(*args: Any, **kwargs: Any) -> Any:
        number = _count(counter)
        for fault in _plan(directory):
            calls = fault["calls"]
            is_due = number > fault["after"] if calls is None else number in calls
            if fault["function"] == name and is_due:
                _FAULTS[fault["kind"]](fault)
        return function(*args, **kwargs)

    return struck


def _count(counter: str) -> int:
    """This call's number: each call adds a byte, and the file's end then is its own."""
    fd = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b".")
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def _plan(directory: str) -> list[dict[str, Any]]:
    try:
        with open(os.path.join(directory, PLAN)) as file:
            plan: list[dict[str, Any]] = json.load(file)
            return plan
    except FileNotFoundError:
        return []


def _crash(fault: dict[str, Any]) -> None:
    import signal

    signal.raise_signal(fault["signal"])


def _exit(fault: dict[str, Any]) -> None:
    os._exit(fault["code"])


def _hang(_: dict[str, Any]) -> None:
    while True:
        time.sleep(3600)


def _slow(fault: dict[str, Any]) -> None:
    time.sleep(fault["seconds"])


def _leak(fault: dict[str, Any]) -> None:
    _kept.append(_resident(fault["size"]))
    _kept.extend(os.memfd_create("pyproc-leak") for _ in range(fault["descriptors"]))


def _oom(fault: dict[str, Any]) -> None:
    held: list[bytearray] = []
    while len(held) * _PIECE < fault["size"]:
        held.append(_resident(_PIECE))
    raise MemoryError(
        f"pyproc_faults.oom took {fault['size']} bytes and no limit has stopped it: "
        "see Limits(memory=)"
    )


def _resident(size: int) -> bytearray:
    return bytearray(b"\1") * size


def _torn_frame(_: dict[str, Any]) -> None:
    """A length of 64 bytes, 16 of them, and the end."""
    from pyproc.worker import context

    assert context._worker_object is not None
    os.write(context._worker_object.call_fd(), (64).to_bytes(4, "big") + b"\x22" + bytes(15))
    os._exit(0)


_FAULTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "crash": _crash,
    "exit": _exit,
    "hang": _hang,
    "slow": _slow,
    "leak": _leak,
    "oom": _oom,
    "torn_frame": _torn_frame,
}
