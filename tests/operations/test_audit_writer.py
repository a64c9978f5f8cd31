"""The writer of an audit log: full disks, threads, forks, key files; and what it never writes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosts import python_path

from pyproc import AuditError, AuditLog
from pyproc.audit import redact
from pyproc.audit.verify import read, verify
from pyproc.audit.writer import Writer, open_writer

LINES = 12


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that only we can read."""
    path = tmp_path / "key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


def write_some(log: Path, **options: Any) -> None:
    """A closed log of 2 + LINES lines."""
    writer = open_writer(AuditLog(log, **options))
    for number in range(LINES):
        writer.write("access.allowed", function=f"f{number}", uid=number)
    writer.close()


def full(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the writer's disk is full, seen from its system call."""
    real = os.pwrite

    def refuse(fd: int, data: bytes, at: int) -> int:
        if fd == writer._fd:
            real(fd, data[:10], at)  # part of the line still had room
            return 10
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", refuse)


def test_with_deny_a_full_disk_is_an_error_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log))
    with monkeypatch.context() as patch:
        full(writer, patch)
        with pytest.raises(AuditError, match="cannot be written"):
            writer.write("auth.ok", uid=1)
        with pytest.raises(AuditError, match="no call is made"):
            writer.check()
        assert writer.stats()["audit_failing"] == 1
    writer._retry_at = 0.0
    writer.check()
    writer.close()
    assert [line.get("count") for line in read(str(log)) if line["event"] == "log.dropped"] == [1]
    assert verify(str(log)).verdict == "integrity only"


def test_with_drop_a_full_disk_is_counted_and_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log, on_full="drop"))
    with monkeypatch.context() as patch:
        full(writer, patch)
        for _ in range(3):
            assert writer.write("auth.ok", uid=1) == 0
        writer.check()
    assert writer.stats()["audit_dropped"] == 3
    writer.write("auth.ok", uid=2)
    writer.close()
    events = [(line["event"], line.get("count")) for line in read(str(log))]
    assert events[1:3] == [("log.dropped", 3), ("auth.ok", None)]
    assert verify(str(log)).verdict == "integrity only"


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_each_way_to_the_disk_leaves_a_whole_log(tmp_path: Path, fsync: Any) -> None:
    log = tmp_path / "a.jsonl"
    write_some(log, fsync=fsync, interval=0.01)
    assert verify(str(log)).lines == LINES + 2


def test_many_threads_write_one_chain(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log))

    def write() -> None:
        for number in range(100):
            writer.write("auth.ok", uid=number)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert (verify(str(log)).verdict, verify(str(log)).lines) == ("integrity only", 402)


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log))
    again = open_writer(AuditLog(log))
    assert again is writer
    again.close()
    with pytest.raises(AuditError, match="open in this process with other options"):
        open_writer(AuditLog(log, fsync="never"))
    code = (
        "import sys\nfrom pyproc.audit import AuditLog\n"
        "from pyproc.audit.writer import open_writer\nopen_writer(AuditLog(sys.argv[1]))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, timeout=60,
        check=False, env=os.environ | {"PYTHONPATH": python_path(root)},
    )  # fmt: skip
    writer.close()
    assert "another process writes to the audit log" in done.stderr


def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    writer = open_writer(AuditLog(log))
    pid = os.fork()
    if pid == 0:
        os._exit(writer.write("auth.ok", uid=1))
    assert os.waitpid(pid, 0)[1] == 0
    writer.close()
    assert verify(str(log)).lines == 2


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: path.chmod(0o640), "has mode 0640, so others may use it; chmod 600 it"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes; 32 to 4096 are needed"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: (path.rename(f"{path}2"), path.symlink_to(f"{path}2")), "cannot be read"),
    ],
)
def test_a_wrong_key_file_is_refused(
    tmp_path: Path, key: Path, prepare: Callable[[Path], object], words: str
) -> None:
    prepare(key)
    with pytest.raises(AuditError, match=words):
        open_writer(AuditLog(tmp_path / "a.jsonl", key_file=key))


def test_another_key_does_not_continue_a_log(tmp_path: Path, key: Path) -> None:
    log = tmp_path / "a.jsonl"
    write_some(log, key_file=key)
    key.write_bytes(os.urandom(32))
    with pytest.raises(AuditError, match="is this its key"):
        open_writer(AuditLog(log, key_file=key))


def test_no_link_is_followed_and_no_public_file_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.symlink(tmp_path / "target", tmp_path / "b.jsonl.head")
    with pytest.raises(AuditError, match="cannot be opened"):
        open_writer(AuditLog(tmp_path / "b.jsonl"))
    public = tmp_path / "c.jsonl"
    public.touch()
    public.chmod(0o666)
    with pytest.raises(AuditError, match="can be written by others"):
        open_writer(AuditLog(public))
    write_some(tmp_path / "d.jsonl")
    assert (tmp_path / "d.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("login failed: password=hunter2 for bob", "hunter2"),
        ('{"api_key": "abcd1234", "user": 1}', "abcd1234"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("sent Bearer abc.def-ghi", "abc.def-ghi"),
        ("connect postgres://bob:s3cr3t@db/x", "s3cr3t"),
        ("DB_PASSWORD='a b c' set", "a b c"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0"),
        ("token: 9f86d081884c7d659a2feaa0c55ad015", "9f86d081"),
        ("digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c", "9f86d081"),
    ],
)
def test_credentials_are_taken_out_of_text(text: str, gone: str) -> None:
    assert gone not in redact.text(text)
    assert redact.REDACTED in redact.text(text)


@pytest.mark.parametrize("text", ["signal 11", "no function 'extract'", "roles.reader 'pages.*'"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact.text(text) == text


def test_a_payload_has_no_way_into_a_line(tmp_path: Path) -> None:
    writer = open_writer(AuditLog(tmp_path / "a.jsonl"))
    try:
        with pytest.raises(ValueError, match="has no field 'payload'"):
            writer.write("auth.ok", payload="secret")
        with pytest.raises(ValueError, match="no audit event"):
            writer.write("anything", uid=1)
        with pytest.raises(ValueError, match="text or a number"):
            writer.write("auth.ok", detail=["secret"])
        writer.write("auth.failed", reason="a\nb\u2028\udc80" + "x" * 5000)
    finally:
        writer.close()
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert len(lines) == 3
    assert all(len(line) < 1500 for line in lines)
    assert lines[1].isascii()
