"""What this machine can give a pool: kernel, limits, delegation, and what is lost without.

Each check asks the kernel itself where it can. At the end a pool is opened with each profile: that
it answers a call is the only proof that counts.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OK, PARTLY, NO = "ok", "partly", "no"


@dataclass(frozen=True)
class Check:
    """state: "ok", "partly" or "no". found: what was seen. lost: what a pool cannot do then.
    remedy: what would help. needed: whether nothing works without."""

    name: str
    state: str
    found: str
    lost: str = ""
    remedy: str = ""
    needed: bool = False


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read(4096).strip()
    except OSError:
        return ""


def _kernel() -> Check:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    name = "kernel"
    if sys.platform != "linux":
        return Check(name, NO, sys.platform, "everything", "Linux is needed", True)
    if numbers >= (5, 13):
        return Check(name, OK, release)
    state = PARTLY if numbers >= (5, 4) else NO
    return Check(name, state, release, "sandboxes: Landlock came with 5.13", "a newer kernel",
                 state == NO)  # fmt: skip


def _python() -> Check:
    version = sys.version.split()[0]
    state = OK if sys.version_info >= (3, 11) else NO
    return Check("python", state, f"{version} at {sys.executable}", "", "3.11 or later", True)


def _keeper() -> Check:
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pyproc-keeper")
    if os.access(place, os.X_OK):
        return Check("keeper", OK, "there and executable", needed=True)
    return Check("keeper", NO, "not executable", "every worker",
                 "install the package where programs may be run (no noexec)", True)  # fmt: skip


def _landlock() -> Check:
    from pyproc import _core

    abi = _core.landlock_abi()
    if abi < 1:
        return Check("landlock", NO, os.strerror(-abi) if abi < 0 else "not enabled",
                     "every sandbox profile but none",
                     "boot with lsm=landlock,..., or a filter that passes it")  # fmt: skip
    missing = [(2, "renaming between directories"), (3, "truncation"), (4, "TCP rules"),
               (5, "ioctl on devices"), (6, "signals and abstract sockets in scope")]  # fmt: skip
    lost = [what for least, what in missing if abi < least]
    return Check("landlock", PARTLY if lost else OK, f"ABI {abi}",
                 "done by seccomp instead: " + ", ".join(lost) if lost else "")  # fmt: skip


def _seccomp() -> Check:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    mode = next((line.split()[1] for line in _read("/proc/self/status").splitlines()
                 if line.startswith("Seccomp:")), "")  # fmt: skip
    if not actions or not mode:
        return Check("seccomp", NO, "not in this kernel", "every sandbox profile but none",
                     "a kernel with CONFIG_SECCOMP_FILTER")  # fmt: skip
    if "trap" not in actions or "errno" not in actions:
        return Check("seccomp", PARTLY, " ".join(actions), "naming the call that ended a worker")
    return Check("seccomp", OK, "filters" + (", under a filter already" if mode == "2" else ""))


def _namespaces() -> Check:
    from pyproc import _core, sandbox

    refused = {name: answer for name, bit in sandbox.NAMESPACES.items()
               if (answer := _core.try_namespaces(bit)) != 0}  # fmt: skip
    given = ", ".join(name for name in sandbox.NAMESPACES if name not in refused) or "none"
    if not refused:
        return Check("namespaces", OK, given)
    why = ", ".join(f"{name}: {os.strerror(abs(answer))}" for name, answer in refused.items())
    return Check("namespaces", PARTLY, f"{given} ({why})",
                 "a layer below Landlock and seccomp; a venv below a closed home needs mounts",
                 "run as root, or allow unprivileged user namespaces")  # fmt: skip


def _pidfd() -> Check:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Check("pidfd", NO, str(error.strerror), "every worker", "Linux 5.4 or later", True)
    return Check("pidfd", OK, "there", needed=True)


def _memfd() -> Check:
    try:
        fd = os.memfd_create("pyproc-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        return Check("memfd", NO, str(error.strerror), "every worker",
                     "let the container's filter pass memfd_create", True)  # fmt: skip
    os.close(fd)
    return Check("memfd", OK, "there", needed=True)


def _cgroup() -> Check:
    from pyproc import _cgroups, _core

    error, found, directory = _core.find_cgroup(None)
    if error == 0:
        return Check("cgroup", OK, f"{found}, memory can be limited in {directory}")
    return Check("cgroup", PARTLY, f"{found}: {os.strerror(error)}",
                 "kernel-side memory limits; the watchdog and RLIMIT_DATA hold instead",
                 _cgroups.REMEDY)  # fmt: skip


def _limits() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state = OK if hard == resource.RLIM_INFINITY or hard >= 4096 else PARTLY
    yield Check("open files", state, f"{soft} soft, {hard} hard",
                "" if state == OK else "about 8 a worker are used: few workers fit",
                "" if state == OK else "ulimit -n, LimitNOFILE=")  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    small = soft not in (resource.RLIM_INFINITY, -1) and soft < 256
    shown = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    yield Check("processes", PARTLY if small else OK, shown,
                "workers and their threads count for the user" if small else "",
                "ulimit -u, TasksMax=" if small else "")  # fmt: skip
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    overcommit = _read("/proc/sys/vm/overcommit_memory")
    yield Check("overcommit", PARTLY if overcommit == "2" else OK, f"mode {overcommit or '?'}",
                "forked workers count with all of the template's memory"
                if overcommit == "2" else "")  # fmt: skip


def _user() -> Check:
    uid = os.geteuid()
    if uid != 0:
        return Check("user", OK, f"uid {uid}: workers run as the same user")
    held = next((line.split()[1] for line in _read("/proc/self/status").splitlines()
                 if line.startswith("CapEff:")), "0")  # fmt: skip
    if int(held, 16) & 1 << 7 and int(held, 16) & 1 << 6:  # CAP_SETUID, CAP_SETGID
        return Check("user", OK, "root: sandboxed workers get a user of their own")
    return Check("user", PARTLY, "root without CAP_SETUID", "workers of their own user",
                 "keep CAP_SETUID and CAP_SETGID, or run as another user")  # fmt: skip


def _extras() -> Check:
    wanted = {"numpy": "numpy", "cloudpickle": "cloudpickle", "audit": "cryptography",
              "metrics": "prometheus_client", "opentelemetry": "opentelemetry"}  # fmt: skip
    missing = [name for name, module in wanted.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return Check("extras", OK, "all")
    return Check("extras", PARTLY, f"without {', '.join(missing)}", "what they are for",
                 f"pip install 'pyproc-native[{','.join(missing)}]'")  # fmt: skip


_APP = "import pyproc\n\n\n@pyproc.expose\ndef answer() -> int:\n    return 42\n"


def _profile(profile: str) -> Check:
    from pyproc import Pool, Timeouts

    name = f"profile {profile}"
    with tempfile.TemporaryDirectory(prefix="pyproc-doctor-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103  # nosec B103: a worker may have its own user
        place = os.path.join(folder, "doctor_app.py")
        with open(place, "w", encoding="ascii") as file:
            file.write(_APP)
        try:
            with Pool(place, workers=1, sandbox=profile, output="drop", cwd=folder,
                      timeouts=Timeouts(start=60, task=60)) as pool:  # fmt: skip
                pool.call("answer")
                shown = pool.workers()[0].sandbox
        except Exception as error:
            first = str(error).strip().splitlines()[:1]
            return Check(name, NO, (first or [type(error).__name__])[0][:300],
                         f"Pool(sandbox={profile!r})", "see the lines above",
                         profile == "none")  # fmt: skip
    return Check(name, OK, f"a call was answered under {shown}")


def look(quick: bool = False) -> list[Check]:
    """All checks, in order. quick: without opening pools."""
    single: list[Callable[[], Check]] = [
        _kernel, _python, _keeper, _pidfd, _memfd, _seccomp, _landlock, _namespaces, _cgroup, _user,
        _extras,
    ]  # fmt: skip
    found = [check() for check in single]
    found += _limits()
    if not quick:
        found += [_profile(profile) for profile in ("none", "baseline", "strict", "compute")]
    return found


def is_usable(checks: list[Check]) -> bool:
    """Whether pools work here at all."""
    return not any(check.state == NO and check.needed for check in checks)
