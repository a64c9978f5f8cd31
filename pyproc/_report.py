"""What a pool's sandbox is, line by line, and who says so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyproc import _boxes, sandbox

if TYPE_CHECKING:
    from pyproc._confine import Confinement

_KERNEL = ("Uid", "CapEff", "NoNewPrivs", "Seccomp", "Seccomp_filters")


@dataclass(frozen=True)
class Line:
    """One layer. source: "kernel": /proc says so now; "keeper": a step before the worker's
    interpreter, without which it would not have started; "worker": its own claim."""

    layer: str
    state: str
    source: str
    pid: int = 0


def lines(confinement: Confinement, pids: list[int]) -> list[Line]:
    """The profile, what the keeper applied, what the kernel says of each worker."""
    wanted = confinement.wanted
    found = [Line("profile", confinement.name, "keeper")]
    if wanted.profile == "none":
        found.append(Line("sandbox", "unprotected: nothing is enforced", "keeper"))
        found.append(Line("memory cgroup", confinement.cgroup_words, "keeper"))
        found += [line for pid in pids for line in _cgroup_of(confinement, pid)]
        return found
    found += _applied(confinement)
    for pid in pids:
        found += [*_of_kernel(pid), *_cgroup_of(confinement, pid)]
    probes = confinement.second.probe
    tried = [
        name
        for bit, name in (
            (_boxes.PROBE_CANARY, "open a file that is not granted"),
            (_boxes.PROBE_SOCKET, "make a socket"),
            (_boxes.PROBE_KILL, "signal the parent"),
            (_boxes.PROBE_RLIMIT, "raise a limit"),
            (_boxes.PROBE_ROOT, "become root"),
        )
        if probes & bit
    ]
    found.append(Line("self-test", "refused: " + ", ".join(tried), "worker"))
    return found


def _applied(confinement: Confinement) -> list[Line]:
    first, second = confinement.first, confinement.second
    spaces = [name for name, bit in sandbox.NAMESPACES.items() if first.namespaces & bit]
    user = "the host's" if first.uid == _boxes.SAME else f"{first.uid}:{first.gid}"
    states = {
        "user": user,
        "capabilities": ", ".join(confinement.wanted.capabilities) or "none",
        "namespaces": ", ".join(spaces) or "none: the kernel does not let, or nobody asked",
        "landlock": _landlock(confinement),
        "seccomp before the interpreter": f"{len(first.filter) // 8} instructions",
        "seccomp before the first call": f"{len(second.filter) // 8} instructions",
        "tripwire": _tripwire(confinement),
        "memory cgroup": confinement.cgroup_words,
        "scratch": confinement.scratch or "none",
    }
    found = [Line(layer, state, "keeper") for layer, state in states.items()]
    return found + [Line(effect, "missing", "keeper") for effect in confinement.missing]


def _tripwire(confinement: Confinement) -> str:
    if not confinement.unheard:
        return "the host hears of calls that are never allowed, and ends the worker"
    why = os.strerror(confinement.unheard)
    return f"none ({why}): such a call is ended by the kernel (SIGSYS)"


def _landlock(confinement: Confinement) -> str:
    first = confinement.first
    if not first.flags & _boxes.LANDLOCK:
        return "missing"
    parts = [f"{len(first.rules)} paths"]
    if first.net:
        parts.append("no TCP")
    if first.scope:
        parts.append("no signals and no abstract sockets to outsiders")
    return ", ".join(parts)


def _cgroup_of(confinement: Confinement, pid: int) -> list[Line]:
    """Where the kernel counts the worker's memory, and up to how much."""
    if confinement.cgroup is None:
        return []
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            paths = [line.rstrip("\n").split(":", 2)[2] for line in file]
    except OSError:
        return []
    for path in paths:
        group = os.path.join(confinement.cgroup, *path.split("/")[-2:])
        for name in ("memory.limit_in_bytes", "memory.max"):
            try:
                with open(os.path.join(group, name)) as file:
                    limit = file.read().strip()
            except OSError:
                continue
            if "/pyproc-" in path:
                return [Line("memory cgroup", f"{path}: {limit} bytes", "kernel", pid)]
    return [Line("memory cgroup", "missing", "kernel", pid)]


def _of_kernel(pid: int) -> list[Line]:
    try:
        with open(f"/proc/{pid}/status") as file:
            pairs = [line.rstrip("\n").partition(":") for line in file]
    except OSError:
        return []
    fields = {name: value.strip() for name, _, value in pairs}
    return [Line(name, fields.get(name, "?"), "kernel", pid) for name in _KERNEL]
