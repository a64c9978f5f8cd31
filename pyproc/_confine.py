"""From a Sandbox to what the keeper and the worker apply: effects first, mechanisms as they are.

The host finds out what the kernel can do, chooses, and says which line of the report each choice
becomes. What is required and cannot be had is SandboxUnavailable, before anything starts.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pyproc import _boxes, _cgroups, _core, _ids, _oci, _places, _system, config, sandbox
from pyproc import _syscalls as calls
from pyproc._boxes import CHANGE, LOOK, OPTIONAL, RUN, Box
from pyproc._places import is_below, modules_in
from pyproc._syscalls import words
from pyproc.errors import SandboxUnavailable
from pyproc.sandbox import Sandbox

#: Of these and of what lies above them only modules are granted, when they stand on sys.path.
_SHARED = [
    f"/{name}" for name in words("tmp var/tmp home root etc var run proc sys dev srv mnt media")
]


if TYPE_CHECKING:
    from pyproc._report import Line


class Confinement:
    """What one pool starts its workers with. Closed with the pool."""

    #: Calls of network servers that work on sockets which a worker was given.
    spared: tuple[str, ...] = ()
    #: Whether a host is there that can hear of calls that are never allowed.
    listens = True

    def __init__(self, wanted: Sandbox, options: dict[str, Any]) -> None:
        self.wanted = wanted
        self.missing: list[str] = []
        self.scratch: str | None = None
        self._lock = -1
        #: Why nobody listens to calls that are never allowed, an errno; 0: the host does.
        self.unheard = 0
        self.first, self.second = Box(), Box()
        self._options = options
        self.cgroup, self.cgroup_words = _cgroups.choose(wanted, options, self._lack)
        if wanted.profile == "none":
            return
        self._abi = _core.landlock_abi()
        try:
            self._plan()
        except BaseException:
            self.close()
            raise

    # ---- what Pool asks ----

    @property
    def python(self) -> str:
        """The workers' interpreter."""
        return str(self._options["python"])

    @property
    def name(self) -> str:
        """The profile, and what it lacks."""
        if not self.missing:
            return self.wanted.profile
        return f"{self.wanted.profile}(degraded: {', '.join(self.missing)})"

    def as_core(self) -> dict[str, Any]:
        """The core's keys."""
        keys: dict[str, Any] = {} if self.cgroup is None else {"cgroup": self.cgroup}
        if self.wanted.profile == "none":
            return keys
        keys |= {"sandbox_first": self.first.pack(), "sandbox_second": self.second.pack()}
        if self.scratch is not None:
            given = {entry.partition("=")[0] for entry in self._options["env"]}
            own = [("TMPDIR", self.scratch), ("HOME", self.scratch)]
            keys["env"] = [*self._options["env"], *(f"{k}={v}" for k, v in own if k not in given)]
        return keys

    def report(self, pids: list[int]) -> list[Line]:
        """What is in force; kernel lines of these workers."""
        from pyproc import _report

        return _report.lines(self, pids)

    def close(self) -> None:
        """Removes the scratch directory and gives the user's number back."""
        if self.scratch is not None:
            shutil.rmtree(os.path.dirname(self.scratch), ignore_errors=True)
            self.scratch = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ---- the plan ----

    def _lack(self, effect: str, mechanism: str, answer: str, remedy: str) -> None:
        if self.wanted.on_unsupported == "error":
            raise SandboxUnavailable(effect, mechanism, answer, remedy)
        self.missing.append(effect)

    def _plan(self) -> None:
        wanted, first, second = self.wanted, self.first, self.second
        first.flags = _boxes.NO_CAPS | _boxes.KEYRING
        second.flags = _boxes.NO_DUMP | _boxes.TRAPS
        if wanted.profile != "baseline" or wanted.syscalls is not None:
            second.flags |= _boxes.CLOSES
        self._choose_user()
        self._make_scratch()
        for name in wanted.capabilities:
            if os.geteuid() != 0:
                self._lack(f"capability {name}", "capset", "not root", "run the host as root")
            first.keep |= 1 << sandbox.CAPABILITIES.index(name)
        self._check_labels()
        self._grant()
        self._landlock()
        self._namespaces()
        self._filters()
        self._probes()

    def _choose_user(self) -> None:
        wanted = self.wanted
        if wanted.user is not None:
            uid = sandbox.resolve_user("user", wanted.user)
            gid = uid if wanted.group is None else sandbox.resolve_user("group", wanted.group)
            if os.geteuid() != 0:
                self._lack("a user of its own", "setresuid", "the host is not root",
                           "run the host as root or leave user= out")  # fmt: skip
                return
            self.first.uid, self.first.gid = uid, gid
        elif _ids.can_change_user():
            try:
                uid, self._lock = _ids.claim()
            except OSError:
                return  # taken where it can be had; the report says so
            self.first.uid = self.first.gid = uid

    @property
    def own_user(self) -> bool:
        """Whether workers run as somebody else than the host."""
        return self.first.uid not in (_boxes.SAME, os.geteuid())

    @property
    def written(self) -> tuple[str, ...]:
        """What was granted for writing; and, where the user of their own can reach it at all, what
        the pytest plugin has workers of this process write."""
        more = config.WRITABLE if self.wanted.profile == "baseline" else ()
        if more and self.own_user and _core.try_namespaces(sandbox.NAMESPACES["mount"]) != 0:
            more = ()
        return (*self.wanted.write, *more)

    def _make_scratch(self) -> None:
        if not self.wanted.scratch or self.wanted.profile == "compute":
            return
        top = tempfile.mkdtemp(prefix="pyproc-")
        self.scratch = os.path.join(os.path.realpath(top), "scratch")
        os.mkdir(self.scratch, 0o700)
        os.chmod(top, 0o711)  # noqa: S103  # nosec B103: one may pass, not look
        if self.first.uid != _boxes.SAME:
            os.chown(self.scratch, self.first.uid, self.first.gid)

    def _check_labels(self) -> None:
        for name, value, kind in (
            ("apparmor", self.wanted.apparmor, 1), ("selinux", self.wanted.selinux, 2)
        ):  # fmt: skip
            if value is None:
                continue
            if not os.path.isdir(f"/sys/fs/{name}") and not os.path.isdir(
                f"/sys/kernel/security/{name}"
            ):
                self._lack(f"the {name} label", name, "the kernel does not run it",
                           f"enable {name} or leave {name}= out")  # fmt: skip
                continue
            self.first.label, self.first.label_kind = value, kind

    # ---- files ----

    def _grant(self) -> None:
        wanted, first = self.wanted, self.first
        strict = wanted.profile != "baseline"
        uid = os.geteuid() if first.uid == _boxes.SAME else first.uid
        _system.grant(first, narrow=strict, network=bool(wanted.network), is_root=uid == 0)
        own = _places.of_interpreter(self._options["python"], bool(self._options.get("prefix")))
        for path in (*own, os.path.realpath(self._options["python"])):
            first.grant(path, RUN | OPTIONAL)
        for path in self._import_places(own):
            self._grant_import(path, strict)
        if not strict:
            self._grant_import(self._cwd(), strict)
        if self.scratch is not None:
            first.grant(self.scratch, CHANGE)
        for path in wanted.read:
            first.grant(path, LOOK)
        for path in self.written:
            first.grant(path, CHANGE)
        for path in wanted.exec:
            first.grant(path, RUN)

    def _cwd(self) -> str:
        return os.path.realpath(self._options["cwd"] or os.getcwd())

    def _import_places(self, own: list[str]) -> list[str]:
        """Where modules are found besides: sys.path, and the application itself."""
        options = self._options
        found = [entry for entry in options["path"] if entry]
        for file in (options.get("file") or "", options.get("target") or ""):
            if os.path.isabs(file):
                found.append(os.path.dirname(file))
        for _, _, _, file, _ in options.get("functions") or ():
            if file:
                found.append(os.path.dirname(file))
        # Each for itself: of an outer one, perhaps only its own modules are granted.
        real = {os.path.realpath(path) for path in found if os.path.exists(path)}
        return [path for path in sorted(real) if not is_below(path, own)]

    def _grant_import(self, path: str, narrow: bool) -> None:
        """A directory of modules; narrow: the modules in it and no other file."""
        shared = path == "/" or any(is_below(other, [path]) for other in _SHARED)
        if not os.path.isdir(path) or not (narrow or shared or path == os.path.expanduser("~")):
            self.first.grant(path, RUN | OPTIONAL)
            return
        if path != "/":
            self.first.grant(path, _boxes.READ_DIR | OPTIONAL)
        for module in modules_in(path):
            if not any(is_below(other, [module]) for other in _SHARED):
                self.first.grant(module, LOOK | OPTIONAL)

    def _landlock(self) -> None:
        first, second, wanted = self.first, self.second, self.wanted
        if self._abi < 1:
            self._lack(
                "files only as granted", "Landlock", os.strerror(-self._abi),
                "Linux 5.13 with landlock among its security modules (lsm=) is needed",
            )  # fmt: skip
            return
        first.flags |= _boxes.LANDLOCK
        second.flags |= _boxes.LANDLOCK | _boxes.SINGLE
        first.fs = second.fs = _boxes.handled(self._abi)
        if self._abi >= 4 and not {"inet", "inet6"} & wanted.families:
            first.net = second.net = _boxes.NET_ALL
        if self._abi >= 6:
            first.scope = second.scope = _boxes.SCOPE_ALL
        if wanted.profile == "baseline":
            second.fs = second.net = 0
            if not second.scope:  # nothing is left to give up
                second.flags &= ~(_boxes.LANDLOCK | _boxes.SINGLE)
        elif wanted.profile == "strict":
            for path, rights in first.rules.items():
                if not path.startswith(("/proc", "/sys")):
                    second.rules[path] = rights & ~_boxes.EXECUTE

    # ---- calls ----

    def _filters(self) -> None:
        wanted, first, second = self.wanted, self.first, self.second
        scoped = self._abi >= 6 or self.own_user
        extra: tuple[str, ...] = ()
        if self._abi < 3:
            extra += ("truncate",)
        if not self.own_user and not self.is_locked:
            extra += _METADATA
        self.unheard = -_core.try_tripwire() if self.listens else errno.ENOTSUP
        never = calls.TRAP if self.unheard else calls.NOTIFY
        rules = calls.deny_rules(wanted.families, scoped, extra, never)
        rules = [rule for rule in rules if rule[0] not in self.spared]
        first.flags |= _boxes.FILTER | (0 if self.unheard else _boxes.TRIPWIRE)
        first.filter = _compile(calls.ALLOW, rules)
        second.flags |= _boxes.FILTER
        if isinstance(wanted.syscalls, tuple):
            own = [(name, calls.ALLOW, ()) for name in wanted.syscalls]
            own = [rule for rule in own if rule[0] not in calls.NEVER]
            essential = [*calls.essential_rules(), *calls.left_to_first()]
            second.filter = _compile(calls.EPERM, [*own, *essential])
        elif wanted.syscalls is not None and wanted.syscalls.startswith("/"):
            second.filter = _oci.compiled(wanted.syscalls)
        else:
            profile = wanted.syscalls or wanted.profile
            second.filter = self._second(profile)

    def _second(self, profile: str) -> bytes:
        if profile == "baseline":
            return _compile(calls.ALLOW, calls.second_deny_rules(), newest=0)
        rules = calls.allow_rules(profile, self.wanted.late_native_imports, self.own_user)
        rules = [rule for rule in rules if rule[0] not in self.spared]
        rules += [(name, calls.ALLOW, ()) for name in self.spared]
        if self.wanted.network:
            rules = [rule for rule in rules if rule[0] not in ("socket", *calls.NETWORK)]
            names = (*calls.NETWORK, "setsockopt", "sendmmsg", "recvmmsg")
            rules += [(name, calls.ALLOW, ()) for name in names]
            numbers = [calls.FAMILY[family] for family in self.wanted.families]
            rules += [("socket", calls.ALLOW, (calls.word(0, n),)) for n in numbers]
        return _compile(calls.EPERM, rules)

    # ---- views ----

    @property
    def is_locked(self) -> bool:
        """Whether all but what was granted for writing is read-only for workers."""
        return (_boxes.LOCK, "/") in self.first.mounts

    def _namespaces(self) -> None:
        wanted, first = self.wanted, self.first
        required = set(wanted.namespaces or ())
        if wanted.hostname is not None:
            required.add("uts")
        names = {"mount", "ipc", "uts", "pid"} if wanted.namespaces is None else set(required)
        if wanted.namespaces is None and not wanted.network:
            names.add("net")
        # Without privileges a user namespace gives the right to have the others.
        base = sandbox.NAMESPACES["user"] if os.geteuid() != 0 and names else 0
        answer = _core.try_namespaces(base | _bits(names))
        if answer != 0:
            names, answer = self._some_namespaces(names, required, base), 0
        if names:
            first.namespaces = base | _bits(names)
        first.hostname = (wanted.hostname or "worker") if "uts" in names else None
        from pyproc import _mounts

        _mounts.plan(self)

    def _some_namespaces(self, names: set[str], required: set[str], base: int) -> set[str]:
        """Those that can be had one by one. SandboxUnavailable for what was asked for."""
        found = set()
        for name in sorted(names):
            answer = _core.try_namespaces(base | sandbox.NAMESPACES[name])
            if answer == 0:
                found.add(name)
            elif name in required:
                self._lack(f"the {name} namespace", "unshare", os.strerror(-answer),
                           "run the host as root, or leave it out")  # fmt: skip
        return found

    def _probes(self) -> None:
        second = self.second
        if self.wanted.profile == "none":
            return
        second.flags |= _boxes.PROBE
        if not self.wanted.network:
            second.probe |= _boxes.PROBE_SOCKET
        if self.own_user or (self._abi >= 6 and self.wanted.profile != "baseline"):
            second.probe |= _boxes.PROBE_KILL
        if not self.wanted.capabilities:
            second.probe |= _boxes.PROBE_RLIMIT | _boxes.PROBE_ROOT
        if self.scratch is not None and self.first.flags & _boxes.LANDLOCK:
            top = os.path.dirname(self.scratch)
            if not is_below(top, [*self.wanted.read, *self.wanted.write, *self.wanted.exec]):
                second.canary = os.path.join(top, "canary")
                with open(second.canary, "w"):
                    os.chmod(second.canary, 0o644)
                second.probe |= _boxes.PROBE_CANARY


#: Of a file's owner, whatever Landlock says: where workers are the host's own user they could
#: change what is the host's.
_METADATA = words("""
    chmod fchmod fchmodat utime utimes utimensat futimesat setxattr lsetxattr fsetxattr removexattr
    lremovexattr fremovexattr
""")


def _bits(names: Iterable[str]) -> int:
    return sum(sandbox.NAMESPACES[name] for name in set(names))


def _compile(standard: int, rules: list[calls.Rule], newest: int = calls.NEWEST) -> bytes:
    known = [rule for rule in rules if _core.knows_call(rule[0])]
    return _core.compile_filter(standard, calls.KILL_PROCESS, newest, [], known)
