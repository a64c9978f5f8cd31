"""A sandbox and limits for a worker of the Go pool, by the process itself.

There is no keeper here: the Go program starts the script. So a worker that is to be confined binds
its socket, gives up what stage one takes, and executes itself again, which keeps its pid and leaves
no thread outside. The second time it loads the application, gives up the rest, and listens.

| variable | what it says |
| :-- | :-- |
| PYPROC_SANDBOX | a profile: none (the default), baseline, strict or compute |
| PYPROC_LIMITS_MEMORY and so on | as `pyproc.Limits`; what needs a supervisor is refused |
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyproc import Limits, Sandbox, _boxes, _core
from pyproc._confine import Confinement
from pyproc.config import memory_size, parse_size
from pyproc.gopool.server import bound

_MARK = "PYPROC_CONFINED"
_SECRETS = ("PYPROC_HMAC_SECRET", "PYPROC_HMAC_SECRET_FILE")
_PREFIX = "PYPROC_LIMITS_"
_STATE_MAX = 8 << 20
#: Limits that somebody has to watch, and here nobody does.
_WATCHED = ("processes", "threads", "result_size", "output")
_KERNELS = {
    "address_space": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "file_size": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
    "stack": resource.RLIMIT_STACK,
}


def wanted(environment: Mapping[str, str]) -> tuple[Sandbox, Limits | None]:
    """What the environment asks for. ValueError names the variable."""
    from pyproc.configuration import from_text

    profile = environment.get("PYPROC_SANDBOX") or "none"
    try:
        box = Sandbox(profile)
    except ValueError as error:
        raise ValueError(f"PYPROC_SANDBOX={profile!r}: {error}") from None
    found: dict[str, Any] = {}
    for key, text in environment.items():
        if not key.startswith(_PREFIX):
            continue
        name = key.removeprefix(_PREFIX).lower()
        if name not in Limits.__dataclass_fields__:
            known = ", ".join(_PREFIX + other.upper() for other in (*_KERNELS, "memory"))
            raise ValueError(f"{key}: there is no such limit; {known}... are known")
        found[name] = from_text(text, f"pool.limits.{name}")
    try:
        return box, Limits(**found) if found else None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_PREFIX}*: {error}") from None


def check(box: Sandbox, limits: Limits | None) -> None:
    """Refuses what a process cannot do to itself. ValueError names the option."""
    for name in ("user", "group", "namespaces", "hostname", "apparmor", "selinux"):
        if getattr(box, name):
            raise ValueError(f"Sandbox({name}=): only a pool's keeper can do that; leave it out")
    for name in _WATCHED:
        if limits is not None and getattr(limits, name) is not None:
            raise ValueError(f"Limits({name}=) needs a supervisor; the Go pool has none")


def apply_limits(limits: Limits) -> None:
    """The kernel's limits of this process: memory is RLIMIT_DATA, cpu_time RLIMIT_CPU, of its whole
    life. OSError."""
    for name, number in _KERNELS.items():
        value = getattr(limits, name)
        if value is not None:
            _lower(number, parse_size(value, name))
    if limits.memory is not None:
        _lower(resource.RLIMIT_DATA, _data_now() + memory_size(limits.memory, "Limits.memory"))
    if limits.cpu_time is not None:
        seconds = max(1, round(limits.cpu_time))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if limits.nice:
        os.nice(limits.nice)
    if limits.cpus is not None:
        own = sorted(os.sched_getaffinity(0))
        cpus = own[: limits.cpus] if isinstance(limits.cpus, int) else limits.cpus
        os.sched_setaffinity(0, cpus)


def _lower(number: int, value: int) -> None:
    _, hard = resource.getrlimit(number)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (least, least))


def _data_now() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


class _Own(Confinement):
    """As far as a process can confine itself: no other user, no namespaces, no scratch."""

    spared = ("listen", "accept", "accept4", "setsockopt")
    listens = False

    def _choose_user(self) -> None:
        """Stays who the Go program started."""

    def _make_scratch(self) -> None:
        """Nobody would remove it."""

    def _namespaces(self) -> None:
        """None."""


@dataclass(frozen=True)
class Confined:
    """What the first of the two processes left for the second."""

    profile: str
    secret: bytes | None
    listener: socket.socket
    second: bytes
    probe: int
    flags: int

    def close_in(self) -> None:
        """Stage two, after the application is there and before anybody is listened to. OSError;
        a sandbox that does not hold is one, too."""
        box = self.second
        single = self.flags & _boxes.SINGLE
        if single and len(os.listdir("/proc/self/task")) > 1:
            box = _without_landlock(box)  # it binds one thread only: stage one holds for all
        _core.enter_sandbox(box, True)
        self._prove()

    def _prove(self) -> None:
        if self.probe & _boxes.PROBE_SOCKET:
            try:
                socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
            except OSError:
                pass
            else:
                raise OSError("the sandbox does not hold: a socket can be made")
        if self.probe & _boxes.PROBE_ROOT and os.geteuid() != 0:
            try:
                os.setresuid(0, 0, 0)
            except OSError:
                pass
            else:
                raise OSError("the sandbox does not hold: root can be had again")


def _without_landlock(packed: bytes) -> bytes:
    """The box with one flag less; flags are the third of its numbers."""
    flags = int.from_bytes(packed[8:12], sys.byteorder) & ~_boxes.LANDLOCK
    return packed[:8] + flags.to_bytes(4, sys.byteorder) + packed[12:]


def begin(
    box: Sandbox, limits: Limits | None, file: str | None, path: str, secret: bytes | None
) -> None:
    """Executes this process again inside stage one, with the socket at `path` bound and not
    listening yet: its directory is not the sandbox's. Answers with profile "none", when there are
    only limits to apply. OSError, SandboxUnavailable; then no socket is left.
    """
    if limits is not None:
        apply_limits(limits)
    if box.profile == "none":
        return
    plan = _Own(box, _options(file))
    state = {
        "profile": plan.name,
        "secret": None if secret is None else secret.hex(),
        "second": plan.second.pack().hex(),
        "probe": plan.second.probe,
        "flags": plan.second.flags,
    }
    # Both before stage one; the file is gone with its descriptor.
    with tempfile.TemporaryFile() as kept, _bound(path) as listener:
        kept.write(json.dumps(state).encode())
        kept.flush()
        for fd in (kept.fileno(), listener.fileno()):
            os.set_inheritable(fd, True)
        environment = {k: v for k, v in os.environ.items() if k not in _SECRETS}
        environment[_MARK] = f"{kept.fileno()},{listener.fileno()}"
        sys.stdout.flush()
        sys.stderr.flush()
        _core.enter_sandbox(plan.first.pack(), False)
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(command[0], command, environment)  # noqa: S606  # nosec B606: itself


@contextlib.contextmanager
def _bound(path: str) -> Iterator[socket.socket]:
    """The socket, gone again when the rest fails."""
    with bound(path) as listener:
        try:
            yield listener
        except BaseException:
            os.unlink(path)
            raise


def resume(environment: dict[str, str] | os._Environ[str]) -> Confined | None:
    """What `begin` left, in the second process. OSError, ValueError: something else left it."""
    mark = environment.pop(_MARK, None)
    if mark is None:
        return None
    kept, _, listening = mark.partition(",")
    if not (kept.isdecimal() and listening.isdecimal()):
        raise ValueError(f"{_MARK} is not for you to set")
    with open(int(kept), "rb") as file:
        file.seek(0)
        state = json.loads(file.read(_STATE_MAX))
    listener = socket.socket(fileno=int(listening))
    listener.set_inheritable(False)
    secret = state["secret"]
    return Confined(
        state["profile"],
        None if secret is None else bytes.fromhex(secret),
        listener,
        bytes.fromhex(state["second"]),
        state["probe"],
        state["flags"],
    )


def _options(file: str | None) -> dict[str, Any]:
    """What a plan wants to know of the interpreter and the application."""
    return {
        "python": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "path": list(sys.path),
        "file": "" if file is None else os.path.abspath(file),
        "target": "",
        "functions": (),
        "cwd": None,
        "env": [],
    }
