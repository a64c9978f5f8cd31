"""What a pool does for those who run it: rates, the audit log, the control socket, crash bundles.

A pool that asks for none of it pays nothing: no gate, no listener, no thread. Any thread.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from pyproc import errors
from pyproc.rate import Limiter, Rates

if TYPE_CHECKING:
    from pyproc.access import Policy
    from pyproc.audit import AuditOptions
    from pyproc.audit.writer import Writer
    from pyproc.bundle import BundleOptions, Bundles
    from pyproc.control import ControlServer
    from pyproc.events import Event, Events
    from pyproc.pool import Pool
    from pyproc.resilience import Guard

#: An event of the pool -> what it is called in the audit log.
_NAMES = {
    "start": "worker.start",
    "ready": "worker.ready",
    "death": "worker.death",
    "recycle": "worker.stop",
    "start_failed": "worker.start_failed",
    "template_start": "template.start",
    "template_end": "template.stop",
    "violation": "violation",
    "quarantine": "quarantine",
    "breaker": "breaker",
    "isolate": "isolate",
    "dump": "worker.dump",
    "bundle": "bundle",
}
#: Causes of a death that the pool itself wished for.
_WANTED = frozenset({"closed", "recycle", "retired"})
_INVALID = (errors.ValidationError, errors.CodecError, errors.UnknownFunction, errors.UnsafePath)
_REFUSED = (
    errors.RateLimited, errors.FunctionIsolated, errors.TaskQuarantined, errors.CircuitOpen,
    errors.QueueFull, errors.AccessDenied,
)  # fmt: skip
_LIMITS = (
    errors.TaskTimeout, errors.MemoryLimitExceeded, errors.CPUTimeExceeded,
    errors.OutputLimitExceeded, errors.ProcessLimitExceeded, errors.ThreadLimitExceeded,
    errors.ResultTooLarge,
)  # fmt: skip


class Operations:
    """Of one pool; closed with it."""

    def __init__(self, events: Events, guard: Guard) -> None:
        self._events, self._guard = events, guard
        self._limiter: Limiter | None = None
        self._writer: Writer | None = None
        self._server: ControlServer | None = None
        self._bundles: Bundles | None = None
        self._control: str | None = None
        self._control_policy: Policy | None = None

    def start(
        self,
        rate: Rates | None,
        audit: str | os.PathLike[str] | AuditOptions | None,
        control: str | os.PathLike[str] | None,
        bundles: str | os.PathLike[str] | BundleOptions | None,
        target: str,
        control_policy: str | os.PathLike[str] | None = None,
    ) -> None:
        """What the pool asks for. Raises what is wrong with it; `close` is due all the same."""
        events, guard = self._events, self._guard
        self._control = None if control is None else os.fspath(control)
        if control_policy is not None:
            if control is None:
                raise ValueError(
                    "control_policy= says who may use the control socket: set control="
                )
            from pyproc import access

            self._control_policy = access.load(control_policy)
        if rate is not None:
            self._limiter = Limiter(rate)
            guard.add_gate(self._limiter.admit)
            guard.is_rated = True
        if bundles is not None:
            from pyproc.bundle import Bundles

            self._bundles = Bundles(bundles, events, target)
            guard.observers.append(self._bundles.take)
        if audit is not None:
            from pyproc import audit as audits
            from pyproc.audit.writer import open_writer

            self._writer = open_writer(audits.of(audit))
            events.listeners.append(self._on_event)
            guard.observers.append(self._on_error)
            writer = self._writer
            guard.add_gate(lambda _function, _key: writer.check())

    def opened(self, pool: Pool) -> None:
        """The pool serves from now on."""
        self.tell("pool.open", pid=os.getpid(), uid=os.geteuid(), workers=pool._most,
                  sandbox=pool._confined.name)  # fmt: skip
        if self._control is not None:
            from pyproc.control import ControlServer

            rules = self._control_policy
            who = None if rules is None else lambda: rules
            self._server = ControlServer(self._control, pool, self.tell, who)

    def close(self) -> None:
        """Once more is fine."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        writer = self._writer
        if writer is not None:
            self.tell("pool.close", pid=os.getpid())
            self._writer = None
            writer.close()

    def after_fork(self) -> None:
        """In a forked child: what keeps others out of the parent's places is let go."""
        if self._server is not None:
            self._server.after_fork()
        if self._writer is not None:
            self._writer.after_fork()

    # ---- the audit log ----

    def tell(self, event: str, **fields: Any) -> None:
        """One audit event, where there is a log. That it cannot be written stops calls by the
        gate, not what has happened already."""
        writer = self._writer
        if writer is not None:
            with contextlib.suppress(errors.AuditError):
                writer.write(event, **fields)

    def rotate(self) -> None:
        """The next event goes to a new file."""
        if self._writer is not None:
            self._writer.rotate()

    def stats(self) -> dict[str, int]:
        """Counters of what is in use."""
        found: dict[str, int] = {}
        if self._limiter is not None:
            found["calls_rate_limited"] = self._limiter.refused
        if self._writer is not None:
            found |= {name: int(value) for name, value in self._writer.stats().items()}
        return found

    def _on_event(self, event: Event) -> None:
        name = _NAMES.get(event.kind)
        if name is None:
            return
        detail = event.detail
        if event.kind == "death" and is_wanted(detail):
            name = "worker.stop"  # one that had just been started when the pool closed
        if event.kind == "start_failed":  # a traceback: its last line says what, the rest quotes
            detail = detail.strip().rpartition("\n")[2]
        said: dict[str, Any] = {}
        if event.grade:
            shown = ", ".join(str(value) for value in event.args)
            said = {
                "grade": event.grade, "call": event.call_id or None,
                "function": event.function[:255] or None, "syscall": event.syscall,
                "arguments": shown or None, "count": event.before or None,
            }  # fmt: skip
        self.tell(name, worker=event.worker_id or None, pid=event.pid or None,
                  detail=detail or None, **said)  # fmt: skip

    def _on_error(self, function: str, error: BaseException, _payload: bytes | None) -> None:
        """Of a call: which kind of end it was, never a value or the error's own text."""
        if isinstance(error, _INVALID):
            name, reason = "request.invalid", getattr(error, "path", None)
        elif isinstance(error, _REFUSED):
            name, reason = "request.refused", None
        elif isinstance(error, _LIMITS):
            name, reason = "limit", None
        else:
            return
        self.tell(
            name,
            function=function[:255],
            error=type(error).__name__,
            reason=reason or None,
            limit=_number(getattr(error, "limit", None)),
            used=_number(getattr(error, "used", None) or getattr(error, "peak", None)),
            worker=getattr(error, "worker_id", None),
            call=getattr(error, "call_id", None),
        )


def is_wanted(detail: str) -> bool:
    """Whether a death's words say that the pool itself wished for it."""
    return detail.partition(":")[0] in _WANTED


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) else None
