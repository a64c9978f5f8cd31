"""A stage of a sandbox as the bytes that the core hands on; the twin of csrc/security/box.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAGIC = 0x7079627A
SAME = 2**32 - 1
_HEAD = struct.Struct("=14I4Q")
_ENTRY = struct.Struct("=Q")

NO_CAPS, NO_DUMP, LANDLOCK, FILTER, KEYRING, TRAPS, PROBE, SINGLE, CLOSES, TRIPWIRE = (
    1 << i for i in range(10)
)
PROBE_CANARY, PROBE_SOCKET, PROBE_KILL, PROBE_RLIMIT, PROBE_ROOT = (1 << i for i in range(5))
EMPTY, TMPFS, READ, WRITE, PROC, SEAL, LOCK = range(1, 8)
MAPPED = 0x100
OPTIONAL = 1 << 63

# Landlock's rights, <linux/landlock.h>.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKING = sum(1 << bit for bit in (4, 5, 6, 7, 8, 9, 10, 11, 12))
LOOK = READ_FILE | READ_DIR
RUN = LOOK | EXECUTE
CHANGE = LOOK | WRITE_FILE | TRUNCATE | REFER | _MAKING
NET_ALL = 3
SCOPE_ALL = 3


def handled(abi: int) -> int:
    """The rights of files that a kernel of this Landlock ABI knows."""
    rights = (1 << 13) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        if abi >= since:
            rights |= right
    return rights


@dataclass
class Box:
    """What one stage gives up."""

    flags: int = 0
    probe: int = 0
    uid: int = SAME
    gid: int = SAME
    namespaces: int = 0
    mounts: list[tuple[int, str]] = field(default_factory=list)
    rules: dict[str, int] = field(default_factory=dict)
    hostname: str | None = None
    label: str | None = None
    label_kind: int = 0
    canary: str | None = None
    filter: bytes = b""
    keep: int = 0
    fs: int = 0
    net: int = 0
    scope: int = 0

    def grant(self, path: str, rights: int) -> None:
        """One more rule; a path that is named twice gets both rights."""
        self.rules[path] = self.rules.get(path, 0) | rights

    def pack(self) -> bytes:
        """The bytes."""
        texts = [_text(self.hostname), _text(self.label), _text(self.canary)]
        entries = [_entry(kind, path) for kind, path in self.mounts]
        entries += [_entry(rights, path) for path, rights in self.rules.items()]
        body = b"".join([*entries, *texts, self.filter])
        head = _HEAD.pack(
            MAGIC,
            _HEAD.size + len(body),
            self.flags,
            self.probe,
            self.uid,
            self.gid,
            self.namespaces,
            len(self.mounts),
            len(self.rules),
            *(len(text) for text in texts),
            self.label_kind,
            len(self.filter) // 8,
            self.keep,
            self.fs,
            self.net,
            self.scope,
        )
        return head + body


def _entry(value: int, path: str) -> bytes:
    return _ENTRY.pack(value) + _text(path)


def _text(text: str | None) -> bytes:
    import os

    return b"" if text is None else os.fsencode(text) + b"\0"
