"""The lines of an audit log and the chain through them: bytes in, bytes out, no file in sight.

A line is one JSON object. Its last member is `hash`, over all bytes before that member; `prev`, the
hash of the line before, is among them. With a key the hash is HMAC-SHA256, else SHA-256.
Any thread.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from typing import Any, NamedTuple

from pyproc.errors import AuditError

VERSION = 1
#: What stands before the first line.
GENESIS = "0" * 64
#: Longer lines are none of ours.
LINE_MAX = 16 * 1024
KEY_LEAST = 32
KEY_MOST = 4096
_SEAL = b',"hash":"'
_SEALED = len(_SEAL) + 64 + 2


class Key(NamedTuple):
    """What lines are sealed with. `secret` None: plain SHA-256."""

    secret: bytes | None = None

    @property
    def algorithm(self) -> str:
        """Named in the first line of each file."""
        return "sha256" if self.secret is None else "hmac-sha256"

    @property
    def id(self) -> str | None:
        """Tells keys apart without telling them."""
        if self.secret is None:
            return None
        return hashlib.sha256(b"pyproc audit key\0" + self.secret).hexdigest()[:16]

    def seal(self, label: bytes, body: bytes) -> str:
        """64 hexadecimal digits. The label keeps lines, heads and anchors apart."""
        if self.secret is None:
            return hashlib.sha256(label + body).hexdigest()
        return hmac.new(self.secret, label + body, hashlib.sha256).hexdigest()

    def holds(self, label: bytes, body: bytes, seal: str) -> bool:
        """Whether it is the seal of these bytes; in constant time."""
        return hmac.compare_digest(self.seal(label, body).encode(), seal.encode(errors="replace"))


def read_secret(path: str) -> bytes:
    """A file's bytes, when nobody else can read or write it. AuditError says what is wrong."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise AuditError(f"the key file {path!r} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise AuditError(f"the key file {path!r} is no regular file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise AuditError(
                f"the key file {path!r} has mode {mode:04o}, so others may use it; chmod 600 it"
            )
        if status.st_uid not in (0, os.geteuid()):
            raise AuditError(f"the key file {path!r} belongs to user {status.st_uid}, not to ours")
        return os.read(fd, KEY_MOST + 1)
    finally:
        os.close(fd)


def read_key(path: str | None) -> Key:
    """The key of a log. AuditError says what is wrong with it."""
    if path is None:
        return Key()
    secret = read_secret(path)
    if not KEY_LEAST <= len(secret) <= KEY_MOST:
        raise AuditError(
            f"the key file {path!r} has {len(secret)} bytes; {KEY_LEAST} to {KEY_MOST} are needed: "
            "`pyproc audit keygen` makes one"
        )
    return Key(secret)


def dump(value: Any) -> bytes:
    """Compact ASCII JSON: no reader can take a character in it for the end of a line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def make_line(key: Key, fields: dict[str, Any], prev: str) -> tuple[bytes, str]:
    """The line with its end, and its hash, which the next line names."""
    body = dump(fields | {"prev": prev})[:-1]
    seal = key.seal(b"line\0", body)
    return body + _SEAL + seal.encode() + b'"}\n', seal


class Line(NamedTuple):
    """A line as it was found. `fields` holds all but the hash."""

    fields: dict[str, Any]
    body: bytes
    hash: str

    @property
    def seq(self) -> int:
        """Its number, from 1."""
        return int(self.fields["seq"])

    def is_sealed_by(self, key: Key) -> bool:
        """Whether it is as it was written."""
        return key.holds(b"line\0", self.body, self.hash)


def parse_line(data: bytes) -> Line:
    """A line without looking at its hash. ValueError says why it is none."""
    if len(data) > LINE_MAX:
        raise ValueError("it is longer than a line may be")
    text = data[:-1] if data.endswith(b"\n") else data
    body, end = text[:-_SEALED], text[-_SEALED:]
    if not end.startswith(_SEAL) or not end.endswith(b'"}'):
        raise ValueError("it does not end with a hash")
    seal = end[len(_SEAL) : -2].decode("ascii", "backslashreplace")
    try:
        fields = json.loads(body + b"}")
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")
    for name, kind in (("v", int), ("seq", int), ("prev", str), ("log", str)):
        if not isinstance(fields.get(name), kind):
            raise ValueError(f"it lacks {name!r}")
    if fields["v"] != VERSION:
        raise ValueError(f"its schema version is {fields['v']}, this program knows {VERSION}")
    return Line(fields, body, seal)


class Mark(NamedTuple):
    """A place in the chain: after which line, of which log. Head records and anchors are marks."""

    log: str
    seq: int
    hash: str

    def pack(self, key: Key, label: bytes, size: int = 0) -> bytes:
        """Sealed, with an end of line, filled up to `size` bytes."""
        body = dump({"v": VERSION, "log": self.log, "seq": self.seq, "hash": self.hash})
        whole = dump({"mark": body.decode(), "seal": key.seal(label, body)})
        return whole.ljust(max(size - 1, 0)) + b"\n"


def parse_mark(data: bytes, key: Key, label: bytes) -> Mark:
    """ValueError: it is none, or not sealed by this key."""
    try:
        outer = json.loads(data)
        body = outer["mark"].encode()
        inner = json.loads(body)
        mark = Mark(str(inner["log"]), int(inner["seq"]), str(inner["hash"]))
        seal = str(outer["seal"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("it is damaged") from None
    if not key.holds(label, body, seal):
        raise ValueError("its seal is wrong")
    return mark


HEAD = b"head\0"
ANCHOR = b"anchor\0"
#: The head record has two places that are written in turn: a torn one leaves the other.
SLOT = 512


def parse_head(data: bytes, key: Key) -> tuple[Mark | None, list[str]]:
    """The newest mark of a head record, and what is wrong with it."""
    marks, wrong = [], []
    for at in range(0, 2 * SLOT, SLOT):
        slot = data[at : at + SLOT]
        if not slot.strip(b"\0 \n"):
            continue
        try:
            marks.append(parse_mark(slot, key, HEAD))
        except ValueError as error:
            wrong.append(f"the head record is not sound: {error}")
    if len(data) not in (0, SLOT, 2 * SLOT):
        wrong.append("the head record is not sound: it has a wrong size")
    return max(marks, key=lambda mark: mark.seq, default=None), wrong
