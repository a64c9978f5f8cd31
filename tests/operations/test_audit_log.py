"""An audit log shows every change: edited, inserted, removed, reordered, cut; and keeps secrets."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyproc import AuditError, AuditLog
from pyproc.audit import box, files
from pyproc.audit.verify import Verdict, matches, read, verify
from pyproc.audit.writer import open_writer

LINES = 12


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that only we can read."""
    path = tmp_path / "key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


def write_some(log: Path, **options: Any) -> list[bytes]:
    """A closed log of 2 + LINES lines."""
    writer = open_writer(AuditLog(log, **options))
    for number in range(LINES):
        writer.write("access.allowed", function=f"f{number}", uid=number)
    writer.close()
    return log.read_bytes().splitlines(keepends=True)


def findings(verdict: Verdict) -> str:
    """All of them, in one text."""
    return "\n".join(str(found["what"]) for found in verdict.findings)


def test_a_whole_log_is_authentic_with_its_key(tmp_path: Path, key: Path) -> None:
    write_some(tmp_path / "a.jsonl", key_file=key)
    verdict = verify(str(tmp_path / "a.jsonl"), key_file=str(key))
    assert (verdict.verdict, verdict.lines, verdict.findings) == ("authentic", LINES + 2, [])


def test_without_a_key_the_verdict_is_integrity_only(tmp_path: Path) -> None:
    write_some(tmp_path / "a.jsonl")
    assert verify(str(tmp_path / "a.jsonl")).verdict == "integrity only"


def _edit(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"uid":5', b'"uid":6') for line in lines]


def _insert(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[8], *lines[4:]]


def _remove(lines: list[bytes]) -> list[bytes]:
    return lines[:6] + lines[7:]


def _reorder(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def _cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def _behead(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def _empty(lines: list[bytes]) -> list[bytes]:
    return []


def _blank(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], b"\n", *lines[5:]]


def _glue(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[5].rstrip(b"\n"), *lines[6:]]


@pytest.mark.parametrize("has_key", [True, False], ids=["key", "no key"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_edit, "the line was changed"),
        (_insert, "are missing before this one"),
        (_remove, "lines 7 to 7 are missing"),
        (_reorder, "line 4 stands after line 5"),
        (_cut, "the tail is cut: lines 14 to 14 are missing"),
        (_behead, "older ones are missing"),
        (_empty, "the tail is cut: lines 1 to 14 are missing"),
        (_blank, "no line of an audit log"),
        (_glue, "no line of an audit log"),
    ],
)
def test_a_change_is_found_and_its_place_named(
    tmp_path: Path,
    key: Path,
    has_key: bool,
    change: Callable[[list[bytes]], list[bytes]],
    words: str,
) -> None:
    log = tmp_path / "a.jsonl"
    lines = write_some(log, key_file=key if has_key else None)
    log.write_bytes(b"".join(change(lines)))
    verdict = verify(str(log), key_file=str(key) if has_key else None)
    assert verdict.verdict == "broken"
    assert words in findings(verdict)


def test_every_changed_byte_is_found(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    data = b"".join(write_some(log, key_file=key))
    chosen = random.Random(7)
    for _ in range(400):
        at = chosen.randrange(len(data))
        other = chosen.choice([byte for byte in range(256) if byte != data[at]])
        log.write_bytes(data[:at] + bytes([other]) + data[at + 1 :])
        assert verify(str(log), key_file=str(key)).findings, (at, other)


def test_who_has_no_key_cannot_make_a_log_anew(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    write_some(log, key_file=key)
    shutil.rmtree(tmp_path / "forged", ignore_errors=True)
    (tmp_path / "forged").mkdir()
    write_some(tmp_path / "forged" / "a.jsonl")  # a whole chain, without a key
    for name in ("a.jsonl", "a.jsonl.head"):
        shutil.copy(tmp_path / "forged" / name, tmp_path / name)
    verdict = verify(str(log), key_file=str(key))
    assert verdict.verdict == "broken"
    assert "sealed with another key" in findings(verdict)


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * 1024], ids=["empty", "other", "noise"])
def test_a_damaged_or_missing_head_record_is_a_finding(
    tmp_path: Path, key: Path, damage: bytes
) -> None:
    log, head = tmp_path / "a.jsonl", tmp_path / "a.jsonl.head"
    write_some(log, key_file=key)
    head.write_bytes(damage)
    assert "head record" in findings(verify(str(log), key_file=str(key)))
    head.unlink()
    assert "head record is missing" in findings(verify(str(log), key_file=str(key)))


def test_a_cut_tail_stays_visible_after_the_log_goes_on(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    lines = write_some(log, key_file=key)
    log.write_bytes(b"".join(lines[:-3]))
    write_some(log, key_file=key)
    events = [line["event"] for line in read(str(log))]
    assert "log.gap" in events
    assert "lines 12 to 14 are missing" in findings(verify(str(log), key_file=str(key)))


def test_a_line_torn_by_a_crash_is_told_and_the_log_goes_on(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    write_some(log, key_file=key)
    with log.open("ab") as file:
        file.write(b'{"v":1,"log":"abc')
    write_some(log, key_file=key)
    verdict = verify(str(log), key_file=str(key))
    assert verdict.verdict == "authentic", findings(verdict)
    assert "log.recovered" in [line["event"] for line in read(str(log))]


def test_the_chain_goes_on_through_rotation_and_pruning(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log, key_file=key, keep=2))
    for number in range(60):
        writer.write("auth.ok", uid=number)
        if number % 10 == 9:
            writer.rotate()
    writer.close()
    assert len(files.old_files(str(log))) == 2
    verdict = verify(str(log), key_file=str(key))
    assert verdict.verdict == "authentic", findings(verdict)
    assert verdict.first is not None
    assert verdict.first > 30
    assert "were pruned" in verdict.notes[0]
    oldest = Path(files.old_files(str(log))[0])
    oldest.unlink()
    assert "are missing before this one" in findings(verify(str(log), key_file=str(key)))


def test_a_removed_old_file_is_found_though_an_anchor_was_forged(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log, key_file=key))
    writer.write("auth.ok", uid=1)
    writer.rotate()
    writer.write("auth.ok", uid=2)
    writer.close()
    files.prune(str(log), type(writer.key)(), files.old_files(str(log)))  # without the key
    assert "the anchor is not sound" in findings(verify(str(log), key_file=str(key)))


def test_the_file_begins_anew_at_its_size(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log, max_size="64KiB"))
    for number in range(400):
        writer.write("auth.failed", uid=number, reason="x" * 100)
    writer.close()
    assert len(files.old_files(str(log))) >= 2
    assert all(os.path.getsize(name) < 66 * 1024 for name in files.all_files(str(log)))
    assert verify(str(log)).verdict == "integrity only"


def test_a_file_that_logrotate_has_moved_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log))
    writer.write("auth.ok", uid=1)
    log.rename(tmp_path / "a.jsonl.000000000001")
    writer.rotate()
    writer.write("auth.ok", uid=2)
    writer.close()
    assert verify(str(log)).verdict == "integrity only"
    assert verify(str(log)).files == 2


def test_lines_for_a_recipient_can_be_verified_by_all_and_read_by_one(
    tmp_path: Path, key: Path
) -> None:
    private, public = box.keygen()
    (tmp_path / "id").write_text(private)
    (tmp_path / "id").chmod(0o600)
    (tmp_path / "pub").write_text(public)
    log = tmp_path / "a.jsonl"
    write_some(log, key_file=key, recipient_file=tmp_path / "pub")
    assert verify(str(log), key_file=str(key)).verdict == "authentic"
    assert b"access.allowed" not in log.read_bytes()
    opened = list(read(str(log), box.Opener(str(tmp_path / "id"))))
    assert [line["function"] for line in opened[1:-1]] == [f"f{n}" for n in range(LINES)]
    other, _ = box.keygen()
    (tmp_path / "id").write_text(other)
    with pytest.raises(AuditError, match="sealed for another key"):
        list(read(str(log), box.Opener(str(tmp_path / "id"))))


def test_lines_are_found_by_field_and_time(tmp_path: Path) -> None:
    write_some(tmp_path / "a.jsonl")
    found = [
        line["function"]
        for line in read(str(tmp_path / "a.jsonl"))
        if matches(line, {"event": "access.*", "function": "f1?"}, "2000", "9999")
    ]
    assert found == ["f10", "f11"]
    assert all(set(line) >= {"v", "log", "seq", "time", "event", "prev"}
               for line in read(str(tmp_path / "a.jsonl")))  # fmt: skip
    json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fsync": "sometimes"}, "always, interval, never"),
        ({"on_full": "ignore"}, "'deny' or 'drop'"),
        ({"max_size": "1KiB"}, "at least 64KiB"),
        ({"keep": 0}, "1 old file or more"),
        ({"interval": 0}, "above 0"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AuditLog("a.jsonl", **options)
