"""An access policy in force: decisions with their quotas, and the review of who may do what.

The daemon decides in C from `Policy.table()`; this is for the control socket and for hosts that
stand in front of a pool themselves, and it is what the C code is tested against.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from pyproc.access import Binding, Peer, Policy, Role, glob_fits, load
from pyproc.errors import AccessDenied, ConfigError, RateLimited
from pyproc.rate import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable


class Enforcer:
    """A policy file in force, with the quotas of its roles. Any thread.

    `reload` is atomic: a wrong file raises, and the policy before it goes on. `on_event(event,
    fields)` is told of loads, refusals and decisions; an audit writer's `write` fits.
    """

    def __init__(
        self, path: str | os.PathLike[str], on_event: Callable[..., object] | None = None
    ) -> None:
        self._path = os.fspath(path)
        self._tell = on_event or (lambda *_args, **_fields: None)
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._running: dict[str, int] = {}
        #: When a role was last used, in seconds since the epoch.
        self.last_used: dict[tuple[str, str], float] = {}
        self.policy = load(self._path)
        self._tell("policy.load", policy=self._path)

    def reload(self) -> Policy:
        """Takes the file as it is now. ConfigError: the policy before it stays in force."""
        try:
            fresh = load(self._path)
        except ConfigError as error:
            self._tell("policy.refused", policy=self._path, reason=str(error))
            raise
        with self._lock:
            self.policy = fresh
            names = {role.name for role in fresh.roles}
            self._buckets = {name: of for name, of in self._buckets.items() if name in names}
        self._tell("policy.load", policy=self._path)
        return fresh

    def admit(self, peer: Peer, function: str, size: int = 0, correlation_id: str = "") -> Role:
        """The role that is charged; give it back with `leave`. AccessDenied or RateLimited, whose
        text says nothing about the policy."""
        policy = self.policy
        decision = policy.decide(peer, function)
        said: dict[str, Any] = {
            "uid": peer.uid, "key_id": peer.key or None, "function": function[:255],
            "rule": decision.rule, "correlation_id": correlation_id or None,
        }  # fmt: skip
        if not decision.allowed:
            self._tell("access.denied", **said)
            raise AccessDenied("access denied", function, correlation_id or None)
        role = policy.roles[decision.role]
        refusal = self._charge(role, size)
        if refusal is not None:
            self._tell("request.refused", **said, role=role.name, reason=refusal[0])
            raise RateLimited(refusal[0], function, refusal[1])
        self.last_used[role.name, function[:255]] = time.time()
        self._tell("access.allowed", **said, role=role.name)
        return role

    def _charge(self, role: Role, size: int) -> tuple[str, float] | None:
        if role.payload and size > role.payload:
            return f"the request has {size} bytes, {role.payload} are allowed", 0.0
        with self._lock:
            if role.in_flight and self._running.get(role.name, 0) >= role.in_flight:
                return f"{role.in_flight} calls are running already", 0.0
            if role.rate:
                now = time.monotonic()
                bucket = self._buckets.setdefault(role.name, Bucket(role.burst, now))
                wait = bucket.take(role.rate, role.burst, now)
                if wait:
                    return f"more than {role.rate:g} calls a second", wait
            self._running[role.name] = self._running.get(role.name, 0) + 1
        return None

    def leave(self, role: Role) -> None:
        """The call has ended."""
        with self._lock:
            left = self._running.get(role.name, 0) - 1
            if left > 0:
                self._running[role.name] = left
            else:
                self._running.pop(role.name, None)


def review(
    policy: Policy, functions: list[str], used: dict[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """One line for each binding and function that it gives: who, what, by which rule, last used
    when (`used`: (role, function) -> time). Without known functions the globs stand for them."""
    found = []
    for binding in policy.bindings:
        role = policy.roles[binding.role]
        for glob in role.allow:
            names = [name for name in functions if glob_fits(glob, name)] or [glob]
            for name in names:
                denied = [of for of in role.deny if glob_fits(of, name)]
                last = [when for (by, what), when in used.items()
                        if by == role.name and glob_fits(name, what)]  # fmt: skip
                found.append({
                    "who": who(binding), "function": name, "role": role.name,
                    "rule": f"{binding.name} roles.{role.name} {glob!r}",
                    "allowed": not denied, "denied_by": denied[0] if denied else None,
                    "tenant": role.tenant or None, "rate": role.rate or None,
                    "in_flight": role.in_flight or None, "payload": role.payload or None,
                    "last_used": max(last, default=None),
                })  # fmt: skip
    return found


def who(binding: Binding) -> str:
    """A binding's conditions in words."""
    parts = []
    if binding.uid != -1:
        parts.append(f"uid {binding.uid}")
    if binding.gid != -1:
        parts.append(f"gid {binding.gid}")
    if binding.key:
        parts.append(f"key {binding.key}")
    return " and ".join(parts)
