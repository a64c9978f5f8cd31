"""The audit log: security events as JSON lines that nobody changes unseen.

Each line carries a hash over itself and the line before; with a key the hash is an HMAC, so that
only who has the key can make a line. A head record, kept apart, knows how the log ends. There are
no payloads, results, environments or keys in it: see `redact`.

    Pool("docs:app", audit="audit.jsonl")
    Pool("docs:app", audit=AuditLog("audit.jsonl", key_file="audit.key", fsync="always"))
    pyproc audit verify audit.jsonl --key-file audit.key
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pyproc.config import parse_size
from pyproc.errors import AuditError as AuditError

FSYNC = ("always", "interval", "never")
ON_FULL = ("deny", "drop")


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What `AuditLog` takes besides its path; also the keys of `[audit]` in a configuration."""

    path: str = ""
    key_file: str | None = None
    head: str | None = None
    fsync: Literal["always", "interval", "never"] = "interval"
    interval: float = 1.0
    max_size: int | str | None = "64MiB"
    keep: int | None = None
    on_full: Literal["deny", "drop"] = "deny"
    recipient_file: str | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is missing: the file of the audit log")
        if "\0" in self.path or self.path.endswith("/"):
            raise ValueError(f"path={self.path!r}: a file is needed, not a directory")
        if self.fsync not in FSYNC:
            raise ValueError(f"fsync={self.fsync!r}: one of {', '.join(FSYNC)} is needed")
        if self.on_full not in ON_FULL:
            raise ValueError(f"on_full={self.on_full!r}: 'deny' or 'drop' is needed")
        if isinstance(self.interval, bool) or not 0 < self.interval <= 3600:
            raise ValueError(f"interval={self.interval!r}: above 0 and up to 3600 seconds")
        if self.max_size is not None and parse_size(self.max_size, "max_size") < 64 * 1024:
            raise ValueError(f"max_size={self.max_size!r}: at least 64KiB, or None for no rotation")
        if self.keep is not None and (isinstance(self.keep, bool) or self.keep < 1):
            raise ValueError(f"keep={self.keep!r}: 1 old file or more, or None to keep all")


class AuditLog(AuditOptions):
    """Where and how security events are written; a frozen value that pools may share.

    path: the file; older ones stand beside it as PATH.000000000001 and so on, by their first line.
    key_file: 32 bytes or more, mode 0600 or stricter (`pyproc audit keygen`); without it `verify`
        can only say `integrity only`.
    head: the head record (default PATH.head); best where who may write the log may not write.
    fsync: "always" before the event counts as written, "interval" after at most `interval`
        seconds, "never" leaves it to the kernel.
    max_size: bytes after which a new file begins. keep: how many old files stay; None: all.
    on_full: when a line cannot be written, "deny" refuses calls until it can, "drop" goes on,
        counts, and says how many are missing with the next line.
    recipient_file: a public key (`pyproc audit keygen --encrypt`): lines can then be read only
        with its private key; the chain can be verified without. Needs pyproc-native[audit].

    Raises ValueError or TypeError that name the field. One process at a time writes to a path.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key_file: str | os.PathLike[str] | None = None,
        head: str | os.PathLike[str] | None = None,
        fsync: Literal["always", "interval", "never"] = "interval",
        interval: float = 1.0,
        max_size: int | str | None = "64MiB",
        keep: int | None = None,
        on_full: Literal["deny", "drop"] = "deny",
        recipient_file: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            path=os.fspath(path),
            key_file=None if key_file is None else os.fspath(key_file),
            head=None if head is None else os.fspath(head),
            fsync=fsync,
            interval=interval,
            max_size=max_size,
            keep=keep,
            on_full=on_full,
            recipient_file=None if recipient_file is None else os.fspath(recipient_file),
        )


def of(value: object) -> AuditOptions:
    """What `Pool(audit=)` got."""
    if isinstance(value, AuditOptions):
        return value
    if isinstance(value, str | os.PathLike):
        return AuditLog(value)
    raise TypeError(f"audit={value!r}: a path or a pyproc.AuditLog is needed")
