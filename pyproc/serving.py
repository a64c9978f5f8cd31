"""serve: a daemon that gives other processes a pool over a named socket.

`Server` is the socket; this is the rest of a daemon: a pool for each tenant, the policy, signals,
systemd.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyproc import systemd
from pyproc.errors import Error
from pyproc.server import Server

if TYPE_CHECKING:
    from pyproc.access import Policy
    from pyproc.pool import Pool
    from pyproc.web.site import Site


class Daemon:
    """What `serve` runs: the signals' wishes, carried out one after the other on one thread."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        reload: Callable[[], object],
        drain_timeout: float | None,
        leaves: Callable[[], object] = bool,
    ) -> None:
        self._pools = pools
        self._reload, self._drain_timeout, self._leaves = reload, drain_timeout, leaves
        self._wake = threading.Event()
        self._wants_reload = self._wants_stop = self._wants_haste = False

    def on_signal(self, number: int, _frame: object) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT drain and stop, a second one stops at once."""
        if number == signal.SIGHUP:
            self._wants_reload = True
        elif self._wants_stop:
            self._wants_haste = True
        else:
            self._wants_stop = True
        self._wake.set()

    def run(self, server: Server) -> None:
        """Until somebody wants it to stop."""
        pause = systemd.watchdog_seconds()
        systemd.notify("READY=1", "STATUS=serving")
        while not self._wants_stop:
            self._wake.wait(pause)
            self._wake.clear()
            if pause is not None and all(pool.health() for pool in self._pools.values()):
                systemd.notify("WATCHDOG=1")
            if self._wants_reload:
                self._wants_reload = False
                systemd.reloading()
                with contextlib.suppress(Error):
                    self._reload()
                systemd.notify("READY=1", "STATUS=serving")
        self._leaves()
        systemd.notify("STOPPING=1", "STATUS=draining")
        self._drain(server)

    def _drain(self, server: Server) -> None:
        left = self._drain_timeout
        while not self._wants_haste and (left is None or left > 0):
            step = 0.5 if left is None else min(0.5, left)
            if server.drain(step):
                return
            left = None if left is None else left - step


__all__ = ["Daemon", "Server", "key_names", "raise_descriptors", "serve"]

#: Descriptors that a daemon needs besides its clients'.
DESCRIPTORS_BESIDE = 1024
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def _signals(daemon: Daemon) -> Any:
    before = [(number, signal.signal(number, daemon.on_signal)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def raise_descriptors(wanted: int) -> int:
    """As many descriptors as clients need, within the hard limit; answers what there are."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft


def serve(
    target: Any,
    *,
    socket: str | os.PathLike[str] | None = None,
    policy: str | os.PathLike[str] | None = None,
    pool: Mapping[str, Any] | None = None,
    drain_timeout: float | None = 30.0,
    started: Callable[[Server], object] | None = None,
    http: str | None = None,
    metrics: str | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> None:
    """Serves `target` at a socket until SIGTERM or SIGINT; the main thread's business.

    socket: its path; not needed when systemd has opened one for this process. policy: a file, read
    again with SIGHUP (a wrong one is refused, and the old one stays); the workers import the
    application afresh then, too, and the audit log goes on in a new file. Each tenant of the policy
    gets a pool of its own. pool: options of `Pool`; a tenant's name is appended to control=, since
    each pool has a control socket of its own. options: those of `Server`. started: called once it
    serves. drain_timeout: seconds that
    calls under way have after SIGTERM; None: as long as they take. http: where a status page is
    ("127.0.0.1:9180", "unix:PATH"), metrics: where only /metrics is; another address than the
    machine's own needs tls_cert, tls_key and token_file, else this raises ConfigError.
    """
    from pyproc import access
    from pyproc.pool import Pool

    found = systemd.listening()
    if len(found) > 1:
        raise ValueError(f"systemd has opened {len(found)} sockets: one is served")
    rules = None if policy is None else access.load(policy)
    wanted = int(options.get("max_clients", 10000)) + DESCRIPTORS_BESIDE
    there = raise_descriptors(wanted)
    if "max_clients" in options and there < wanted:
        raise ValueError(
            f"max_clients={options['max_clients']}: {wanted} descriptors are needed, and this "
            f"process may have {there} (ulimit -Hn, LimitNOFILE= under systemd)"
        )
    with contextlib.ExitStack() as stack:
        pools: dict[str, Pool] = {}
        for tenant in _tenants(rules):
            pools[tenant] = stack.enter_context(Pool(target, **_pool_options(pool, tenant)))
        tell = next(iter(pools.values()))._operations.tell

        def reload() -> None:
            nonlocal rules
            try:
                fresh = None if policy is None else access.load(policy)
                for one in pools.values():
                    one._operations.rotate()
                    one.reload()
                server.update(fresh)
                rules = fresh
            except Exception as error:
                tell("policy.refused", reason=str(error))
                raise
            tell("policy.load", policy=None if policy is None else os.fspath(policy))

        site: Site | None = None

        def leaves() -> None:
            if site is not None:
                site.leaves = True

        daemon = Daemon(pools, reload, drain_timeout, leaves)
        with _signals(daemon):  # before the socket is there: who finds it may end us already
            where: dict[str, Any] = {"listening": found[0]} if found else {"socket": socket}
            server = stack.enter_context(Server(pools, policy=rules, **where, **options))
            if http is not None or metrics is not None:
                from pyproc.web.site import open_sites

                site, pages = open_sites(
                    pools, server, http=http, metrics=metrics, tls_cert=tls_cert, tls_key=tls_key,
                    token_file=token_file, on_refused=lambda why: tell("auth.failed", reason=why),
                )  # fmt: skip
                for one in pages:
                    stack.callback(one.close)
            tell("serve.start", pid=os.getpid(), uid=os.geteuid())
            if started is not None:
                started(server)
            daemon.run(server)
        tell("serve.stop", pid=os.getpid())


def _pool_options(given: Mapping[str, Any] | None, tenant: str) -> dict[str, Any]:
    options = dict(given or {})
    if tenant and options.get("control") is not None:
        options["control"] = f"{os.fspath(options['control'])}.{tenant}"
    return options


def _tenants(policy: Policy | None) -> Sequence[str]:
    return (policy.tenants() or ("",)) if policy is not None else ("",)


def key_names(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Every NAME.key of a directory as {NAME: file}: rotation is a second file, then the removal of
    the first."""
    return {path.stem: str(path) for path in sorted(Path(folder).glob("*.key"))}
