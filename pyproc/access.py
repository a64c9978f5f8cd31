"""Who may call what: a policy in TOML, read into one plain table; what it does not allow is denied.

    version = 1

    [roles.reader]
    functions = ["extract", "pages.*"]     # globs: * is any text, ? is one character
    deny = ["pages.remove"]                # wins over whatever any role of the caller allows
    rate = 100                             # calls a second, burst = 200 at once
    in_flight = 8                          # calls at the same time
    payload = "1MiB"                       # bytes of one request
    tenant = "acme"                        # its calls run in workers of their own

    [[bindings]]                           # all conditions of one binding must hold
    role = "reader"
    user = "www-data"                      # or uid =, group =, gid =, key = "name of a key"

A caller has the roles of every binding that fits. The first binding in the file whose role allows
the function is the rule that is named in the audit log, and its role is charged. `table()` is what
the daemon's C code is given: numbers and text only.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any, NamedTuple

import msgspec

from pyproc import _toml
from pyproc.config import parse_size
from pyproc.errors import ConfigError

ROLES_MAX, BINDINGS_MAX, GLOBS_MAX = 256, 4096, 1024
_NAME = re.compile(r"[A-Za-z0-9_.@:-]{1,64}")
#: What a role may do at the control socket; `control = ["*"]` is all of it.
COMMANDS = (
    "ping", "ps", "stats", "top", "health", "events", "functions", "quarantine", "isolated",
    "dump", "drain", "reload", "resize", "isolate", "release", "kill", "rotate", "policy",
)  # fmt: skip


class RoleTable(msgspec.Struct, kw_only=True):
    """`[roles.NAME]`."""

    functions: list[str]
    deny: list[str] = []
    rate: float | None = None
    burst: float | None = None
    in_flight: int | None = None
    payload: int | str | None = None
    tenant: str = ""
    control: list[str] = []


class BindingTable(msgspec.Struct, kw_only=True):
    """`[[bindings]]`."""

    role: str
    uid: int | None = None
    user: str | None = None
    gid: int | None = None
    group: str | None = None
    key: str | None = None


class PolicyTable(msgspec.Struct, kw_only=True):
    """The whole file."""

    version: int
    roles: dict[str, RoleTable] = {}
    bindings: list[BindingTable] = []


class Peer(NamedTuple):
    """Who calls: by the kernel (SO_PEERCRED, SO_PEERGROUPS), and by a key it has proved."""

    uid: int
    gids: frozenset[int] = frozenset()
    key: str = ""


class Role(NamedTuple):
    """A role as it is enforced; 0 stands for no limit."""

    name: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    rate: float
    burst: float
    in_flight: int
    payload: int
    tenant: str
    control: tuple[str, ...]


class Binding(NamedTuple):
    """Who has a role. uid, gid: -1 stands for any; key: "" for none needed."""

    role: int
    uid: int
    gid: int
    key: str
    name: str

    def fits(self, peer: Peer) -> bool:
        """Whether it is about this peer."""
        return (
            self.uid in (-1, peer.uid)
            and (self.gid == -1 or self.gid in peer.gids)
            and self.key in ("", peer.key)
        )


class Decision(NamedTuple):
    """role: the index of the role that is charged, -1 when denied. rule: why, for the audit log;
    it may name what the caller must not know."""

    allowed: bool
    role: int
    rule: str


def glob_fits(glob: str, name: str) -> bool:
    """`*` and `?`, nothing else; the same as in C, without backtracking over more than one star."""
    at = mark = 0
    star = -1
    i = 0
    while i < len(name):
        if at < len(glob) and glob[at] == "*":
            star, mark = at, i
            at += 1
        elif at < len(glob) and glob[at] in ("?", name[i]):
            at += 1
            i += 1
        elif star >= 0:
            at = star + 1
            mark += 1
            i = mark
        else:
            return False
    return all(part == "*" for part in glob[at:])


class Policy:
    """A policy in force; a frozen value. Any thread."""

    def __init__(self, roles: tuple[Role, ...], bindings: tuple[Binding, ...], source: str) -> None:
        self.roles, self.bindings, self.source = roles, bindings, source

    def decide(self, peer: Peer, function: str) -> Decision:
        """Whether this peer may call this function, by which rule."""
        held = [(at, of) for at, of in enumerate(self.bindings) if of.fits(peer)]
        if not held:
            return Decision(False, -1, "no binding fits the caller")
        for _, binding in held:
            role = self.roles[binding.role]
            for glob in role.deny:
                if glob_fits(glob, function):
                    return Decision(False, -1, f"roles.{role.name}.deny {glob!r}")
        for _, binding in held:
            role = self.roles[binding.role]
            for glob in role.allow:
                if glob_fits(glob, function):
                    return Decision(
                        True, binding.role, f"{binding.name} roles.{role.name} {glob!r}"
                    )
        names = ", ".join(sorted({self.roles[binding.role].name for _, binding in held}))
        return Decision(False, -1, f"no role of the caller allows it (roles: {names})")

    def may_control(self, peer: Peer, command: str) -> Decision:
        """The same for a command at the control socket."""
        for binding in self.bindings:
            role = self.roles[binding.role]
            if binding.fits(peer) and ({"*", command} & set(role.control)):
                return Decision(True, binding.role, f"{binding.name} roles.{role.name} control")
        return Decision(False, -1, f"no role of the caller allows the command {command!r}")

    def tenants(self) -> tuple[str, ...]:
        """Each needs workers of its own; "" is the one of roles without a tenant."""
        return tuple(sorted({role.tenant for role in self.roles}))

    def table(self) -> dict[str, Any]:
        """What C is given. Numbers: 0 is no limit, -1 any user or group; text: "" is none.

        {"roles": [{"name", "allow": [glob], "deny": [glob], "rate": calls a second, "burst",
        "in_flight", "payload": bytes, "tenant", "control": [word]}],
        "bindings": [{"role": index, "uid", "gid", "key", "name": the rule's name}]}

        Decided as `decide` does: a deny of any fitting binding's role first, then the first fitting
        binding whose role allows; nothing fits: denied.
        """
        return {
            "roles": [
                {**role._asdict(), "allow": list(role.allow), "deny": list(role.deny),
                 "control": list(role.control)}
                for role in self.roles
            ],
            "bindings": [binding._asdict() for binding in self.bindings],
        }  # fmt: skip


# ---- from a file ----


def load(path: str | os.PathLike[str]) -> Policy:
    """Reads a policy; ConfigError names line, key and reason. Nothing of a wrong file is used."""
    source = os.fspath(path)
    try:
        status = os.stat(source)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source) from None
    if status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"others may change it (mode {stat.S_IMODE(status.st_mode):04o}, owner "
            f"{status.st_uid}); chmod go-w it",
            source,
        )
    tables, lines = _toml.read(source)
    return _make(tables, lines, source)


def parse(text: str, source: str = "policy") -> Policy:
    """The same of text."""
    tables, lines = _toml.parse(text.encode(), source)
    return _make(tables, lines, source)


def _make(tables: dict[str, Any], lines: dict[_toml.Path, int], source: str) -> Policy:
    builder = _toml.Builder(source, lines)
    document: PolicyTable = builder.build(tables, PolicyTable)
    if document.version != 1:
        raise builder.fail(("version",), f"{document.version}: only version 1 is known")
    for name, entries, most in (
        ("roles", document.roles, ROLES_MAX),
        ("bindings", document.bindings, BINDINGS_MAX),
    ):
        if len(entries) > most:
            raise builder.fail((name,), f"more than {most} are not possible")
    roles = tuple(_role(name, of, builder) for name, of in document.roles.items())
    names = [role.name for role in roles]
    bindings = tuple(_binding(at, of, names, builder) for at, of in enumerate(document.bindings))
    return Policy(roles, bindings, source)


def _role(name: str, of: RoleTable, builder: _toml.Builder) -> Role:
    path: _toml.Path = ("roles", name)
    if not _NAME.fullmatch(name):
        raise builder.fail(path, "a role's name is 1 to 64 letters, digits, or one of _.@:-")
    for key in ("functions", "deny", "control"):
        globs = getattr(of, key)
        if len(globs) > GLOBS_MAX:
            raise builder.fail((*path, key), f"more than {GLOBS_MAX} are not possible")
        for at, glob in enumerate(globs):
            if not glob or len(glob.encode()) > 255 or not glob.isprintable():
                raise builder.fail((*path, key, at), f"{glob!r} is no name or glob of a function")
            if "[" in glob or "]" in glob:
                raise builder.fail((*path, key, at), f"{glob!r}: only * and ? are known in globs")
    for at, word in enumerate(of.control):
        if word not in (*COMMANDS, "*"):
            hint = _toml.nearest(word, COMMANDS)
            raise builder.fail((*path, "control", at), f"there is no command {word!r}; {hint}")
    for key, least in (("rate", 0), ("burst", 1), ("in_flight", 1)):
        value = getattr(of, key)
        if value is not None and not (value >= least and 0 < value < float("inf")):
            raise builder.fail((*path, key), f"{value}: {least or 'more than 0'} or more is needed")
    if of.burst is not None and of.rate is None:
        raise builder.fail((*path, "burst"), "burst needs rate beside it")
    if of.tenant and not _NAME.fullmatch(of.tenant):
        raise builder.fail((*path, "tenant"), f"{of.tenant!r}: letters, digits, or one of _.@:-")
    try:
        payload = 0 if of.payload is None else parse_size(of.payload, "payload")
    except (ValueError, TypeError) as error:
        raise builder.fail((*path, "payload"), str(error)) from None
    if of.payload is not None and payload < 1:
        raise builder.fail((*path, "payload"), "at least 1 byte is needed")
    rate = of.rate or 0.0
    burst = of.burst if of.burst is not None else max(1.0, rate) if rate else 0.0
    return Role(
        name, tuple(of.functions), tuple(of.deny), rate, burst, of.in_flight or 0, payload,
        of.tenant, tuple(of.control),
    )  # fmt: skip


def _binding(at: int, of: BindingTable, names: list[str], builder: _toml.Builder) -> Binding:
    path: _toml.Path = ("bindings", at)
    if of.role not in names:
        hint = _toml.nearest(of.role, names) if names else "there are no roles"
        raise builder.fail((*path, "role"), f"there is no role {of.role!r}; {hint}")
    uid = _number(of.uid, of.user, "uid", "user", path, builder)
    gid = _number(of.gid, of.group, "gid", "group", path, builder)
    key = of.key or ""
    if of.key is not None and not _NAME.fullmatch(of.key):
        raise builder.fail((*path, "key"), f"{of.key!r}: letters, digits, or one of _.@:-")
    if uid == -1 and gid == -1 and not key:
        raise builder.fail(path, "it fits nobody by name: uid, user, gid, group or key is needed")
    return Binding(names.index(of.role), uid, gid, key, f"bindings[{at}]")


def _number(
    number: int | None, name: str | None, key: str, word: str, path: _toml.Path,
    builder: _toml.Builder,
) -> int:  # fmt: skip
    import grp
    import pwd

    if number is not None and name is not None:
        raise builder.fail((*path, word), f"{key} and {word} mean the same: use one of the two")
    if number is not None:
        if not 0 <= number < 2**32 - 1:
            raise builder.fail((*path, key), f"{number}: from 0 to 2**32-2 is possible")
        return number
    if name is None:
        return -1
    try:
        return pwd.getpwnam(name).pw_uid if word == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise builder.fail((*path, word), f"this machine has no {word} {name!r}") from None
