"""Reads an audit log: whether it is whole and unchanged, and what it says.

Each finding names file and line. Reading while somebody writes is fine: the head record is read
before and after the lines.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyproc.audit import chain, files
from pyproc.audit.chain import Key, Mark
from pyproc.errors import AuditError

if TYPE_CHECKING:
    from pyproc.audit.box import Opener

FINDINGS_MAX = 1000


@dataclass
class Verdict:
    """verdict: "authentic": whole, unchanged, and made by who has the key. "integrity only": whole
    and unchanged as far as one can tell without a key. "broken": see findings."""

    verdict: str = ""
    lines: int = 0
    files: int = 0
    first: int | None = None
    last: int | None = None
    key_id: str | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find(self, file: str, line: int | None, what: str) -> None:
        """Notes what is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append({"file": file, "line": line, "what": what})


def verify(path: str, *, key_file: str | None = None, head: str | None = None) -> Verdict:
    """Looks at every line, at the head record and at the anchor. AuditError: nothing to read, or
    the key is no key."""
    key = chain.read_key(key_file)
    place = os.path.realpath(path)
    head_path = head or place + ".head"
    found = Verdict(key_id=key.id)
    names = files.all_files(place)
    if not names and not os.path.exists(head_path):
        raise AuditError(f"there is no audit log {path!r}")
    before = _head(head_path, key, found)
    try:
        mark = files.anchor_of(place, key)
    except ValueError as error:
        found.find(place + ".anchor", None, f"the anchor is not sound: {error}")
        mark = None
    if mark is not None:
        found.notes.append(f"lines up to {mark.seq} were pruned")
    for name in names:
        found.files += 1
        mark = _verify_file(name, key, mark, found)
    after = _head(head_path, key, Verdict())
    _verify_end(head_path, mark, before, after or before, found)
    found.verdict = (
        "broken" if found.findings else "integrity only" if key.secret is None else "authentic"
    )
    return found


def _head(path: str, key: Key, found: Verdict) -> Mark | None:
    try:
        with open(path, "rb") as file:
            mark, wrong = chain.parse_head(file.read(4 * chain.SLOT), key)
    except FileNotFoundError:
        found.find(path, None, "the head record is missing: a cut tail could not be seen")
        return None
    for what in wrong:
        found.find(path, None, what)
    if mark is None and not wrong:
        found.find(path, None, "the head record is empty")
    return mark


def _verify_file(name: str, key: Key, mark: Mark | None, found: Verdict) -> Mark | None:
    number = 0
    for data in files.lines(name):
        number += 1
        found.lines += 1
        if not data.endswith(b"\n"):
            if name.rpartition(".")[2].isdecimal() or len(data) > chain.LINE_MAX:
                found.find(name, number, "the line has no end")
            else:
                found.notes.append("the last line is being written, or was torn")
                found.lines -= 1
            continue
        try:
            line = chain.parse_line(data)
        except ValueError as error:
            found.find(name, number, f"this is no line of an audit log: {error}")
            continue
        if not line.is_sealed_by(key):
            found.find(name, number, "the line was changed, or sealed with another key")
        _verify_link(name, number, line, mark, found)
        if found.first is None:
            found.first = line.seq
        found.last = line.seq
        mark = Mark(str(line.fields["log"]), line.seq, line.hash)
    return mark


def _verify_link(
    name: str, number: int, line: chain.Line, mark: Mark | None, found: Verdict
) -> None:
    seq, prev = line.seq, line.fields["prev"]
    if mark is None:
        if seq != 1 or prev != chain.GENESIS:
            found.find(name, number, f"the log begins with line {seq}: older ones are missing")
        return
    if line.fields["log"] != mark.log:
        found.find(name, number, "the line belongs to another log")
    elif seq > mark.seq + 1:
        found.find(name, number, f"lines {mark.seq + 1} to {seq - 1} are missing before this one")
    elif seq <= mark.seq:
        found.find(name, number, f"line {seq} stands after line {mark.seq}")
    elif prev != mark.hash:
        found.find(
            name, number, "the line before this one is not the one that it was written after"
        )


def _verify_end(
    path: str, mark: Mark | None, before: Mark | None, after: Mark | None, found: Verdict
) -> None:
    if before is None or after is None:
        return
    last = 0 if mark is None else mark.seq
    if mark is not None and mark.log != before.log:
        found.find(path, None, "the head record belongs to another log")
    elif last < before.seq:
        found.find(path, None, f"the tail is cut: lines {last + 1} to {before.seq} are missing")
    elif mark is not None and last == before.seq and mark.hash != before.hash:
        found.find(path, None, "the last line is not the one that the head record names")
    elif last > after.seq + 1:
        found.find(path, None, f"lines {after.seq + 1} to {last} were added behind the log's back")


# ---- what it says ----


def read(path: str, opener: Opener | None = None) -> Iterator[dict[str, Any]]:
    """All lines' fields, oldest first; what is no line is left out: `verify` is for that."""
    for name in files.all_files(os.path.realpath(path)):
        for data in files.lines(name):
            try:
                fields = chain.parse_line(data).fields
            except ValueError:
                continue
            yield opener.open(fields) if opener is not None else fields


def matches(fields: dict[str, Any], wanted: dict[str, str], since: str, until: str) -> bool:
    """Whether a line is asked for: each wanted field is a glob; times compare as text (UTC)."""
    moment = str(fields.get("time", ""))
    if (since and moment < since) or (until and moment >= until):
        return False
    return all(
        name in fields and fnmatch.fnmatchcase(str(fields[name]), glob)
        for name, glob in wanted.items()
    )
