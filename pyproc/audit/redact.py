"""What may stand in an audit line: known fields of bounded size, with secrets taken out of text.

Payloads, arguments, results, environments and keys are never given to the log. Text that quotes
somebody (a reason, an application's error at its start) goes through here: what looks like a
credential becomes [redacted]. Any thread.
"""

from __future__ import annotations

import re

#: Characters of one value.
TEXT_MAX = 400

#: What an event may say besides its name, number, time and hashes.
FIELDS = frozenset({
    "worker", "pid", "uid", "gid", "peer_pid", "key_id", "role", "rule", "tenant", "function",
    "decision", "code", "reason", "detail", "cause", "signal", "exit_code", "limit", "used",
    "error", "correlation_id", "connection", "call", "bytes", "count", "algorithm", "version",
    "first", "last", "file", "sandbox", "workers", "generation", "by", "action", "operation",
    "policy", "target", "grade", "syscall", "arguments",
})  # fmt: skip

#: Every event and what it means; `docs/operations/audit.md` shows the same list.
EVENTS = {
    "log.start": "a process opened the log",
    "log.stop": "it closed it",
    "log.rotate": "a new file begins; the chain goes on",
    "log.prune": "old files were removed; what was their last line",
    "log.recovered": "the last line was torn when the log was opened, or the head was behind",
    "log.gap": "the log ended before its head record said: lines are missing here",
    "log.dropped": "so many events could not be written before this line",
    "pool.open": "a pool was opened",
    "pool.close": "it was closed",
    "pool.change": "somebody changed it: resized, reloaded, drained, released",
    "serve.start": "a daemon listens",
    "serve.stop": "it ended",
    "auth.ok": "a peer proved who it is",
    "auth.failed": "a peer did not",
    "access.allowed": "a call was allowed, by which rule",
    "access.denied": "a call was refused, and why",
    "request.invalid": "a request made no sense or did not fit the function",
    "request.refused": "a call was refused: rate, quota, queue, quarantine, circuit or isolation",
    "call.failed": "a call of a client failed; what it was told carries the correlation id",
    "policy.load": "a policy came into force",
    "policy.refused": "a policy was wrong; the old one stays in force",
    "policy.change": "something that decides about calls was changed while running",
    "control.command": "somebody used the control socket",
    "worker.start": "a worker is being started",
    "worker.ready": "it can take calls",
    "worker.stop": "it was replaced or was one too many",
    "worker.death": "it died",
    "worker.start_failed": "it could not be started",
    "worker.dump": "somebody asked for its stacks",
    "template.start": "the process that forks workers started",
    "template.stop": "it ended",
    "limit": "a limit ended a call",
    "violation": "a sandbox refused something to a call, or ended its worker: see grade",
    "quarantine": "a request is not run any more",
    "breaker": "the circuit of a function changed its state",
    "isolate": "calls of a function are refused, or no longer",
    "bundle": "a crash bundle was written",
}

_SECRETS = [
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(-----END[^-]*-----|\Z)", re.DOTALL), ""),
    (re.compile(r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie)(\s*[:=]\s*)[^\n]+"),
     r"\1\2"),
    (re.compile(r"(?i)([\w-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|"
                r"(?:api|access|private|auth|signing|encryption)[_-]?key)[\w-]*"
                r"[\"']?\s*(?:=>|[:=])\s*)(\"[^\"]*\"?|'[^']*'?|\S+)"), r"\1"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9+/._~=-]{6,}"), r"\1\2"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"), r"\1"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"), ""),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|"
                r"\bsk-[A-Za-z0-9_-]{16,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"), ""),
    (re.compile(r"\b(?=[A-Za-z+/_-]*\d)[A-Za-z0-9+/_-]{40,}={0,2}"), ""),
]  # fmt: skip
REDACTED = "[redacted]"


def text(value: str) -> str:
    """One value without credentials, cut to its bound."""
    value = value[: 8 * TEXT_MAX]
    for pattern, kept in _SECRETS:
        value = pattern.sub(kept + REDACTED, value)
    if len(value) > TEXT_MAX:
        value = value[: TEXT_MAX - 3] + "..."
    return value


def clean(event: str, fields: dict[str, object]) -> dict[str, object]:
    """The fields of a line. ValueError for an event or a field that no schema knows: a payload
    would have no other way in."""
    if event not in EVENTS:
        raise ValueError(f"there is no audit event {event!r}")
    found: dict[str, object] = {}
    for name, value in fields.items():
        if name not in FIELDS:
            raise ValueError(f"an audit line has no field {name!r}")
        if value is None:
            continue
        if isinstance(value, str):
            found[name] = text(value.encode("utf-8", "backslashreplace").decode())
        elif isinstance(value, bool | int):
            found[name] = value if abs(value) < 2**63 else str(value)
        elif isinstance(value, float):
            found[name] = round(value, 6) if abs(value) < float("inf") else str(value)
        else:
            raise ValueError(f"an audit line's {name!r} is text or a number, nothing else")
    return found
