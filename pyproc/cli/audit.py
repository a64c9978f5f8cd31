"""`pyproc audit`: verify, tail, query, prune, rotate, keygen."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pyproc.cli.common import NO, Exit, Stop, asking, control_option, emit, json_option, pairs
from pyproc.errors import AuditError

if TYPE_CHECKING:
    from pyproc.audit.box import Opener

_key = click.option("--key-file", metavar="FILE", help="The key that the lines are sealed with.")
_head = click.option("--head", metavar="FILE", help="The head record [default: LOG.head].")
_identity = click.option(
    "--identity-file", metavar="FILE", help="The private key of an encrypted log."
)


@click.group()
def audit() -> None:
    """Reads, verifies and prunes audit logs."""


@audit.command()
@click.argument("log")
@_key
@_head
@json_option
def verify(log: str, key_file: str | None, head: str | None, as_json: bool) -> None:
    """Whether LOG is whole and unchanged: authentic, integrity only (no key), or broken.

    Exit code 1 when it is broken.
    """
    from dataclasses import asdict

    from pyproc.audit.verify import verify as look

    found = look(log, key_file=key_file, head=head)

    def show() -> None:
        click.echo(f"{found.verdict}: {found.lines} lines in {found.files} files")
        for note in found.notes:
            click.echo(f"note: {note}")
        for one in found.findings:
            line = f":{one['line']}" if one["line"] else ""
            click.echo(f"{one['file']}{line}: {one['what']}")

    emit(asdict(found), as_json, show)
    if found.findings:
        raise Exit(NO)


def _opener(identity_file: str | None) -> Opener | None:
    if identity_file is None:
        return None
    from pyproc.audit.box import Opener

    return Opener(identity_file)


def _line(fields: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps(fields)
    known = {"v", "log", "seq", "time", "event", "prev", "epk"}
    words = " ".join(f"{name}={value}" for name, value in fields.items() if name not in known)
    return f"{fields.get('time', '-')} {fields['seq']} {fields.get('event', '(sealed)')} {words}"


def _say_all(lines: Iterator[dict[str, Any]] | deque[dict[str, Any]], as_json: bool) -> None:
    for fields in lines:
        click.echo(_line(fields, as_json))


@audit.command()
@click.argument("log")
@click.option("-n", "--lines", type=click.IntRange(1), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until ^C.")
@_identity
@json_option
def tail(log: str, lines: int, follow: bool, identity_file: str | None, as_json: bool) -> None:
    """The newest lines of LOG; with --json one document a line."""
    from pyproc.audit.verify import read

    opener = _opener(identity_file)
    _there(log)
    newest = deque(read(log, opener), lines)
    _say_all(newest, as_json)
    seen = newest[-1]["seq"] if newest else 0
    while follow:
        time.sleep(0.5)
        for fields in read(log, opener):
            if fields["seq"] > seen:
                click.echo(_line(fields, as_json))
                seen = fields["seq"]


def _there(log: str) -> None:
    from pyproc.audit import files

    if not files.all_files(os.path.realpath(log)):
        raise AuditError(f"there is no audit log {log!r}")


@audit.command()
@click.argument("log")
@click.option("--event", help="A glob, as 'access.*'.")
@click.option("--since", default="", help="UTC, as 2026-01-31 or 2026-01-31T12:00.")
@click.option("--until", default="", help="The same, not included.")
@click.option("--where", multiple=True, metavar="FIELD=GLOB", help="May be given several times.")
@click.option("-n", "--limit", type=click.IntRange(1), help="The newest so many.")
@_identity
@json_option
def query(
    log: str, event: str | None, since: str, until: str, where: tuple[str, ...],
    limit: int | None, identity_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Lines of LOG that fit; exit code 1 when there is none."""
    from pyproc._toml import nearest
    from pyproc.audit.redact import FIELDS
    from pyproc.audit.verify import matches, read

    wanted = pairs(where, "--where")
    for name in wanted:
        known = FIELDS | {"event", "time", "seq", "log"}
        if name not in known:
            raise Stop(f"--where {name}: lines have no such field; {nearest(name, known)}")
    if event is not None:
        wanted["event"] = event
    _there(log)
    opener = _opener(identity_file)
    found = (one for one in read(log, opener) if matches(one, wanted, since, until))
    kept = deque(found, limit)
    _say_all(kept, as_json)
    if not kept:
        raise Exit(NO)


@audit.command()
@click.argument("log")
@click.option("--keep", type=click.IntRange(0), required=True, help="Old files that stay.")
@_key
@json_option
def prune(log: str, keep: int, key_file: str | None, as_json: bool) -> None:
    """Removes the oldest files of LOG; the rest stays verifiable. Nobody may be writing to it:
    a running pool prunes by itself, AuditLog(keep=)."""
    from pyproc.audit import AuditLog, files
    from pyproc.audit.writer import open_writer

    _there(log)
    writer = open_writer(AuditLog(log, key_file=key_file))
    try:
        names = files.beyond(writer.place, keep)
        last = writer.prune(names)
    finally:
        writer.close()
    found = {"removed": names, "last": last or None}
    emit(found, as_json, lambda: click.echo(f"{len(names)} files removed"))


@audit.command()
@control_option
@json_option
def rotate(control: str | None, as_json: bool) -> None:
    """Has a running pool begin a new file with its next event."""
    with asking(control) as client:
        client.ask("rotate")
    emit({"rotated": True}, as_json, lambda: click.echo("a new file begins with the next event"))


@audit.command()
@click.argument("file")
@click.option("--encrypt", is_flag=True, help="A key pair: FILE (private) and FILE.pub.")
@json_option
def keygen(file: str, encrypt: bool, as_json: bool) -> None:
    """Makes a key: FILE, mode 0600, which must not exist."""
    import secrets

    made = [file]
    if encrypt:
        from pyproc.audit.box import keygen as pair

        private, public = pair()
        _create(file, private.encode(), 0o600)
        _create(file + ".pub", public.encode(), 0o644)
        made.append(file + ".pub")
    else:
        _create(file, secrets.token_bytes(32), 0o600)
    emit({"made": made}, as_json, lambda: click.echo("\n".join(made)))


def _create(path: str, data: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise Stop(f"{path!r} exists; a key is never overwritten") from None
    with open(fd, "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
