"""Server: a named socket in front of pools that are open already.

What happens at the socket is decided in C (csrc/server) from the plain table that
`Policy.table()` gives; here options are checked, and events go to the audit log.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pyproc import _core, config
from pyproc.delivery import Delivery
from pyproc.errors import ConfigError, PoolClosed

if TYPE_CHECKING:
    from pyproc.access import Policy
    from pyproc.pool import Pool

Listener = Callable[[str, dict[str, Any]], object]
_open_servers: weakref.WeakSet[Server] = weakref.WeakSet()

#: An event of the socket -> what it is called in the audit log.
AUDITED = {
    "connection.accepted": "auth.ok",
    "connection.denied": "auth.failed",
    "connection.refused": "auth.failed",
    "authentication.failed": "auth.failed",
    "connection.dropped": "request.refused",
    "access.allowed": "access.allowed",
    "access.denied": "access.denied",
    "access.revoked": "policy.change",
    "rate.limited": "request.refused",
    "call.refused": "request.refused",
    "call.failed": "call.failed",
    "request.invalid": "request.invalid",
}
#: A field of an event -> the audit log's name of it.
_FIELDS = {
    "client": "connection", "uid": "uid", "gid": "gid", "pid": "peer_pid", "key": "key_id",
    "role": "role", "charged": "role", "rule": "rule", "function": "function", "reason": "reason",
    "correlation": "correlation_id", "cause": "cause", "signal": "signal",
    "exit_code": "exit_code", "worker": "worker", "worker_pid": "pid", "type": "error",
    "message": "detail",
}  # fmt: skip


class Server:
    """A named socket in front of pools. Any thread; closed before its pools are.

    pools: one pool, or one for each tenant ("" is that of roles without a tenant).
    mode, owner, group: of the socket; names and "0660" do, too.
    socket: its path. Its directory is made with mode 0700 when it is not there, and refused when
        others may write there or it is more open than directory_mode.
    listening: the descriptor of a listening socket instead, as systemd gives.
    policy: who may call what; without one, only processes of the server's own user, everything.
    keys: {id: file or bytes}: secrets that both ends prove to hold. require_key: nobody without.
    allow_uids, allow_gids, allow_pids: who may connect at all, besides the policy.
    errors: "safe" sends type and correlation id of a failure, "full" also message, traceback,
        values and what the worker printed.
    max_clients, max_in_flight: in all, and calls of one client. max_frame: bytes of one message.
    on_event: called with (name, fields) of each event; on a thread of the server.
    audit_allowed: there is an event for each call that is allowed, too.

    Raises OSError (EADDRINUSE: another one serves there), ValueError, TypeError; nothing is open
    then.
    """

    def __init__(
        self,
        pools: Pool | Mapping[str, Pool],
        socket: str | os.PathLike[str] | None = None,
        *,
        listening: int | None = None,
        mode: int | str = 0o600,
        directory_mode: int | str = 0o700,
        owner: int | str | None = None,
        group: int | str | None = None,
        policy: Policy | None = None,
        keys: Mapping[str, str | os.PathLike[str] | bytes] | None = None,
        require_key: bool = False,
        allow_uids: Iterable[int] = (),
        allow_gids: Iterable[int] = (),
        allow_pids: Iterable[int] = (),
        errors: Literal["safe", "full"] = "safe",
        max_clients: int = 10000,
        max_in_flight: int = 64,
        max_frame: int | str = "16MiB",
        max_client_bytes: int | str = "32MiB",
        max_bytes: int | str = "256MiB",
        max_priority: int = 0,
        handshake_timeout: float = 5.0,
        idle_timeout: float | None = None,
        on_event: Listener | None = None,
        audit_allowed: bool = False,
    ) -> None:
        self._closed = True  # until it is open
        if (socket is None) == (listening is None):
            raise ValueError("either socket= or listening= says where to serve")
        if errors not in ("safe", "full"):
            raise ValueError(f"errors={errors!r}: 'safe' or 'full' is needed")
        self._pools = dict(pools) if isinstance(pools, Mapping) else {"": pools}
        if not self._pools:
            raise ValueError("pools: one at least is needed")
        self._tenants = list(self._pools)
        self._keys = dict(keys or {})
        self._rules = {
            "uids": list(allow_uids),
            "gids": list(allow_gids),
            "pids": list(allow_pids),
            "needs_key": require_key,
        }
        self._owner = os.getpid()
        self._path = None if socket is None else os.path.abspath(os.fspath(socket))
        self._on_event = on_event
        self._last: dict[str, Any] = {}
        self._delivery = Delivery(self._take)
        try:
            self._core = _core.Server(
                pools=tuple(pool._core for pool in self._pools.values()),
                policy=self._table(policy),
                path=self._path,
                listening=listening,
                mode=_mode(mode, "mode"),
                directory_mode=_mode(directory_mode, "directory_mode"),
                owner=_number(owner, "owner"),
                group=_number(group, "group"),
                max_clients=_positive(max_clients, "max_clients"),
                max_in_flight=_positive(max_in_flight, "max_in_flight"),
                max_frame=config.parse_size(max_frame, "max_frame"),
                max_client_bytes=config.parse_size(max_client_bytes, "max_client_bytes"),
                max_bytes=config.parse_size(max_bytes, "max_bytes"),
                max_priority=max_priority,
                handshake_timeout=handshake_timeout,
                idle_timeout=idle_timeout,
                sees_all=int(errors == "full"),
                tells_allowed=int(audit_allowed),
                events=self._delivery.started(),
            )
        except BaseException:
            self._delivery.stop()
            raise
        self._closed = False
        _open_servers.add(self)

    def update(
        self,
        policy: Policy | None,
        keys: Mapping[str, str | os.PathLike[str] | bytes] | None = None,
    ) -> None:
        """Puts another policy in force, all at once, and looks at the functions again; `keys`: also
        other keys. Whoever it does not allow is dropped. When it raises, nothing has changed."""
        before = self._keys
        if keys is not None:
            self._keys = dict(keys)
        try:
            self._open().update(self._table(policy))
        except BaseException:
            self._keys = before
            raise

    def drain(self, timeout: float | None = None) -> bool:
        """Takes no new clients and calls; waits for those under way. Whether all have ended."""
        return self._open().drain(timeout)

    def stats(self) -> dict[str, int]:
        """Counters since it was opened, and how many clients and calls there are now."""
        return self._open().stats()

    def usage(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(role, function) -> (calls, when last in seconds since the epoch), of the policy in
        force."""
        return {(role, name): (calls, last) for role, name, calls, last in self._open().usage()}

    def close(self) -> None:
        """Drops whoever is connected, and takes the socket away. The pools stay open."""
        if self._closed or self._owner != os.getpid():
            return
        self._closed = True
        _open_servers.discard(self)
        self._core.close()
        self._delivery.stop()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pyproc.Server {'closed' if self._closed else 'open'} {self._path!r}>"

    def _open(self) -> _core.Server:
        if self._closed or self._owner != os.getpid():
            raise PoolClosed("the server is closed")
        return self._core

    def _table(self, policy: Policy | None) -> dict[str, Any]:
        """The policy as the core takes it."""
        if policy is None:
            roles: list[tuple[Any, ...]] = [("owner", ["*"], [], 0.0, 0.0, 0, 0, 0)]
            bindings: list[tuple[Any, ...]] = [("the server's own user", 0, os.geteuid(), -1, None)]
            if self._rules["needs_key"]:
                bindings = [("any key", 0, -1, -1, name) for name in self._keys]
            elif self._rules["uids"] or self._rules["gids"] or self._rules["pids"]:
                bindings = [("whoever is listed", 0, -1, -1, None)]
        else:
            table = policy.table()
            roles = [
                (role["name"], role["allow"], role["deny"], role["rate"], role["burst"],
                 role["in_flight"], role["payload"], self._tenant(role))
                for role in table["roles"]
            ]  # fmt: skip
            bindings = [
                (of["name"], of["role"], of["uid"], of["gid"], of["key"] or None)
                for of in table["bindings"]
            ]
        keys = [
            (name, of if isinstance(of, bytes) else None,
             None if isinstance(of, bytes) else os.fspath(of))
            for name, of in self._keys.items()
        ]  # fmt: skip
        return {**self._rules, "roles": roles, "bindings": bindings, "keys": keys}

    def _tenant(self, role: Mapping[str, Any]) -> int:
        if role["tenant"] not in self._tenants:
            raise ConfigError(
                f"role {role['name']!r} belongs to tenant {role['tenant']!r}, which has no pool: "
                "tenants are opened when the server starts"
            )
        return self._tenants.index(role["tenant"])

    def _take(self, item: tuple[Any, ...]) -> None:
        """The delivery thread's: one event."""
        name = item[1]
        try:
            fields = json.loads(item[5])
        except ValueError:
            return
        event = AUDITED.get(name)
        if event is not None:
            said = {_FIELDS[key]: value for key, value in fields.items() if key in _FIELDS}
            next(iter(self._pools.values()))._operations.tell(event, **said)
        if self._on_event is not None:
            self._on_event(name, fields)


def _mode(value: int | str, name: str) -> int:
    """A mode as a number, or as in chmod: "0660"."""
    if isinstance(value, str):
        try:
            value = int(value, 8)
        except ValueError:
            raise ValueError(f'{name}={value!r}: a mode as in chmod, "0600", is needed') from None
    if isinstance(value, bool) or not 0 <= value <= 0o777:
        raise ValueError(f"{name}={value!r}: from 0 to 0777 is possible")
    return value


def _number(value: int | str | None, name: str) -> int | None:
    """A user or group by number or name."""
    import grp
    import pwd

    if not isinstance(value, str):
        return value
    try:
        return pwd.getpwnam(value).pw_uid if name == "owner" else grp.getgrnam(value).gr_gid
    except KeyError:
        raise ValueError(f"{name}={value!r}: this machine knows no such name") from None


def _positive(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: 1 or more is needed")
    return value


def _after_fork() -> None:
    for server in list(_open_servers):
        server._core.after_fork()


os.register_at_fork(after_in_child=_after_fork)
