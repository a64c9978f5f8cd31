"""A memory cgroup for each worker: where it can be had, or why there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyproc import _core

if TYPE_CHECKING:
    from pyproc.sandbox import Sandbox

REMEDY = (
    "run the host as root where the memory hierarchy of cgroup v1 is writable, or give it a "
    "cgroup v2 of its own (systemd: Delegate=memory and DelegateSubgroup=host), or name a "
    "directory by Sandbox(cgroup=)"
)


def choose(
    wanted: Sandbox, options: dict[str, Any], lack: Callable[[str, str, str, str], None]
) -> tuple[str | None, str]:
    """The directory for the core (None: no cgroups), and the report's words. `lack` is told what
    was asked for and cannot be had. Raises ValueError."""
    if wanted.cgroup is False:
        return None, "none: Sandbox(cgroup=False)"
    if not options.get("limit_memory"):
        if wanted.cgroup is not None:
            raise ValueError(
                f"Sandbox(cgroup={wanted.cgroup!r}) needs Limits(memory=) beside it: there is "
                "nothing else that it would hold"
            )
        return None, "none: Limits(memory=) is not set"
    named = wanted.cgroup if isinstance(wanted.cgroup, str) else None
    error, found, directory = _core.find_cgroup(named)
    if error == 0:
        return directory, f"{found} in {directory}"
    answer = f"{found}: {os.strerror(error)}"
    if wanted.cgroup is not None:
        lack("a memory cgroup", "cgroup", answer, REMEDY)
    return None, f"none ({answer}): the watchdog and RLIMIT_DATA instead"
