"""Sandbox: what the code in a worker may do, as one frozen value.

Checked when it is made, before any worker starts: every refusal names the field and what would
do. What the kernel can enforce is found out when a pool opens; what it cannot is
SandboxUnavailable.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pyproc._syscalls import words

PROFILES = ("none", "baseline", "strict", "compute")
NAMESPACES = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "net": 0x40000000,
    "cgroup": 0x02000000,
    "pid": 0x20000000,
}
FAMILIES = ("unix", "inet", "inet6", "netlink")
#: In the order of their numbers, <linux/capability.h>.
CAPABILITIES = words("""
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio
    sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time
    sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
    wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
""")

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Sandbox:
    """What a worker may do; Pool(sandbox=) takes one, or a profile's name.

    profile: "none"; "baseline": system, application and working directory can be read, only a
        scratch directory written, programs started, nothing else; "strict": only what
        interpreter and application need can be read, no programs, no processes; "compute":
        nothing is opened any more once the application is imported.
    read, write, exec: absolute paths that exist and are no symlinks; directories with all below
        them. write and exec include read.
    network: False, True (IPv4 and IPv6), or kinds of sockets: "inet", "inet6", "unix", "netlink".
    user, group: a name or a number that workers run as, where the host is root. Without it a
        root host's workers get a user of their own.
    capabilities: what workers keep of the host's, such as "net_bind_service".
    namespaces: None takes what the kernel lets; names are required: "mount", "uts", "ipc",
        "user", "net", "cgroup", "pid" (of the pool: workers see each other, and have other numbers
        than the host's).
    syscalls: None; a profile's name, for its calls instead; a list of names that are the only ones
        allowed once the application is imported, besides those that the worker itself needs; or
        the path of a seccomp profile in OCI's (Docker's) JSON.
    late_native_imports: strict lets compiled modules be imported after the start as well.
    hostname: what workers see as the machine's name. apparmor, selinux: a label to start under.
    cgroup: of Limits(memory=): None takes a memory cgroup for each worker where the host may make
        one; True requires it; a path names the directory to make them in, and requires it; False
        does without. The one field that "none" may have too.
    scratch: whether workers have a private directory to write to (HOME and TMPDIR).
    on_unsupported: "error", or "report": start all the same, shown as degraded everywhere.

    Raises ValueError, TypeError or FileNotFoundError that name the field. Values may be shared
    by pools and threads.
    """

    profile: str = "baseline"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    network: bool | tuple[str, ...] = False
    user: str | int | None = None
    group: str | int | None = None
    capabilities: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None
    syscalls: str | tuple[str, ...] | None = None
    late_native_imports: bool = False
    hostname: str | None = None
    apparmor: str | None = None
    selinux: str | None = None
    cgroup: bool | str | None = None
    scratch: bool = True
    on_unsupported: Literal["error", "report"] = "error"

    def __init__(
        self,
        profile: str = "baseline",
        *,
        read: Iterable[Path] = (),
        write: Iterable[Path] = (),
        exec: Iterable[Path] = (),
        network: bool | Iterable[str] = False,
        user: str | int | None = None,
        group: str | int | None = None,
        capabilities: Iterable[str] = (),
        namespaces: Iterable[str] | None = None,
        syscalls: Path | Iterable[str] | None = None,
        late_native_imports: bool = False,
        hostname: str | None = None,
        apparmor: str | None = None,
        selinux: str | None = None,
        cgroup: bool | Path | None = None,
        scratch: bool = True,
        on_unsupported: Literal["error", "report"] = "error",
    ) -> None:
        spaces = None if namespaces is None else _names("namespaces", namespaces, NAMESPACES)
        values: dict[str, Any] = {
            "profile": _one("profile", profile, PROFILES),
            "read": _paths("read", read),
            "write": _paths("write", write),
            "exec": _paths("exec", exec),
            "network": _network(network),
            "user": _user("user", user),
            "group": _user("group", group),
            "capabilities": _capabilities(capabilities),
            "namespaces": spaces,
            "syscalls": _syscalls(syscalls),
            "late_native_imports": _flag("late_native_imports", late_native_imports),
            "hostname": _text("hostname", hostname, 64),
            "apparmor": _text("apparmor", apparmor, 200),
            "selinux": _text("selinux", selinux, 200),
            "cgroup": _cgroup(cgroup),
            "scratch": _flag("scratch", scratch),
            "on_unsupported": _one("on_unsupported", on_unsupported, ("error", "report")),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        given = [
            name
            for name in (*_GRANTS, "user", "group", "namespaces", "syscalls", "hostname",
                         "apparmor", "selinux", "late_native_imports")
            if getattr(self, name)
        ]  # fmt: skip
        if self.profile == "none" and given:
            raise ValueError(
                f"Sandbox('none') contradicts {given[0]}=: nothing is enforced there; use "
                f"'baseline' or leave {given[0]}= out"
            )
        if self.profile == "compute":
            for name in ("read", "write", "exec", "network", "late_native_imports"):
                if getattr(self, name):
                    raise ValueError(
                        f"Sandbox('compute') contradicts {name}=: it opens nothing once the "
                        f"application is imported; use 'strict' with {name}="
                    )
        if self.profile == "strict" and self.exec:
            raise ValueError(
                "Sandbox('strict') contradicts exec=: it starts no programs; use 'baseline'"
            )
        if self.late_native_imports and self.profile != "strict":
            raise ValueError(
                "Sandbox(late_native_imports=True) is for 'strict'; 'baseline' allows them anyway"
            )
        if self.group is not None and self.user is None:
            raise ValueError("Sandbox(group=) needs user= beside it")

    @property
    def families(self) -> frozenset[str]:
        """Kinds of sockets that workers may make."""
        if isinstance(self.network, bool):
            return frozenset(("inet", "inet6", "netlink") if self.network else ())
        return frozenset(self.network)


_GRANTS = ("read", "write", "exec", "network", "capabilities")


def of(value: object) -> Sandbox:
    """A Sandbox from what Pool(sandbox=) got."""
    if isinstance(value, Sandbox):
        return value
    if isinstance(value, str):
        if value not in PROFILES:
            raise ValueError(f"sandbox={value!r}: {_listed(PROFILES)} or a Sandbox is needed")
        return Sandbox(value)
    raise TypeError(f"sandbox={value!r}: a profile's name or a pyproc.Sandbox is needed")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _near(name: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {near[0]!r}? " if near else ""


def _one(field: str, value: object, allowed: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"Sandbox({field}={value!r}): one of {_listed(allowed)} is needed")
    return value


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"Sandbox({field}={value!r}): True or False is needed")
    return value


def _text(field: str, value: object, limit: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"Sandbox({field}={value!r}): text is needed")
    if not 0 < len(value.encode()) <= limit or not value.isprintable():
        raise ValueError(f"Sandbox({field}={value!r}): 1 to {limit} printable bytes are needed")
    return value


def _paths(field: str, paths: Iterable[Path]) -> tuple[str, ...]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"Sandbox({field}={paths!r}): a list of paths is needed, not one path")
    return tuple(_path(field, path) for path in paths)


def _path(field: str, given: object) -> str:
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"Sandbox({field}=[{given!r}]): a path is a str or an os.PathLike")
    path = os.fspath(given)
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"Sandbox({field}=[{given!r}]): no path")
    if not path.startswith("/"):
        raise ValueError(
            f"Sandbox({field}=[{path!r}]): the path is relative; write "
            f"{os.path.abspath(path)!r} if that is meant"
        )
    if ".." in path.split("/"):
        raise ValueError(f"Sandbox({field}=[{path!r}]): write the path without '..'")
    path = os.path.normpath(path)
    path = "/" + path.lstrip("/")
    if not os.path.lexists(path):
        raise FileNotFoundError(f"Sandbox({field}=[{path!r}]): there is no such file or directory")
    real = os.path.realpath(path)
    if real != path:
        raise ValueError(
            f"Sandbox({field}=[{path!r}]): the path has a symlink in it, which may point elsewhere "
            f"tomorrow; write {real!r}"
        )
    return path


def _cgroup(value: bool | Path | None) -> bool | str | None:
    if value is None or isinstance(value, bool):
        return value
    path = _path("cgroup", value)
    if not os.path.isdir(path):
        raise NotADirectoryError(f"Sandbox(cgroup={path!r}): a directory of a cgroup is needed")
    return path


def _names(field: str, names: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"Sandbox({field}={names!r}): a list of names is needed")
    found = tuple(names)
    for name in found:
        if name not in allowed:
            raise ValueError(
                f"Sandbox({field}=[{name!r}]): {_near(str(name), allowed)}{_listed(allowed)} "
                f"are known"
            )
    return tuple(sorted(set(found)))


def _network(value: bool | Iterable[str]) -> bool | tuple[str, ...]:
    return value if isinstance(value, bool) else _names("network", value, FAMILIES)


def _capabilities(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"Sandbox(capabilities={names!r}): a list of names is needed")
    plain = [str(name).lower().removeprefix("cap_") for name in names]
    return _names("capabilities", plain, CAPABILITIES)


def _user(field: str, value: str | int | None) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"Sandbox({field}={value!r}): a name or a number is needed")
    if isinstance(value, int) and not 0 <= value < 2**32 - 1:
        raise ValueError(f"Sandbox({field}={value}): from 0 to 2**32-2 is possible")
    resolve_user(field, value)
    return value


def resolve_user(field: str, value: str | int) -> int:
    """The number of a user or group."""
    import grp
    import pwd

    if isinstance(value, int):
        return value
    try:
        return pwd.getpwnam(value).pw_uid if field == "user" else grp.getgrnam(value).gr_gid
    except KeyError:
        raise ValueError(f"Sandbox({field}={value!r}): this machine has no such {field}") from None


def _syscalls(value: Path | Iterable[str] | None) -> str | tuple[str, ...] | None:
    from pyproc import _core

    if value is None:
        return None
    if isinstance(value, str) and value in PROFILES[1:]:
        return value
    if isinstance(value, str | os.PathLike):
        path = _path("syscalls", value)
        from pyproc import _oci

        _oci.compiled(path)  # unknown names, actions and architectures are errors now
        return path
    names = tuple(value)
    for name in names:
        if not isinstance(name, str) or not _core.knows_call(name):
            raise ValueError(f"Sandbox(syscalls=[{name!r}]): libseccomp knows no such system call")
    return names
