"""`pyproc access`: check a policy, review who may call what."""

from __future__ import annotations

import click

from pyproc.cli.common import NO, Exit, emit, json_option, table


@click.group()
def access() -> None:
    """Checks and reviews access policies."""


@access.command()
@click.argument("policy")
@json_option
def check(policy: str, as_json: bool) -> None:
    """Whether POLICY would come into force; exit code 2 with line and reason when not."""
    from pyproc.access import load

    found = load(policy)
    count = {"roles": len(found.roles), "bindings": len(found.bindings)}
    words = f"{count['roles']} roles, {count['bindings']} bindings: sound"
    emit(count, as_json, lambda: click.echo(words))


@access.command()
@click.argument("policy")
@click.option("--app", metavar="TARGET", help="Names functions instead of globs: 'docs:app'.")
@click.option("--audit", "log", metavar="LOG", help="Says when each was used last.")
@click.option("--identity-file", metavar="FILE", help="The private key of an encrypted log.")
@json_option
def review(
    policy: str, app: str | None, log: str | None, identity_file: str | None, as_json: bool
) -> None:
    """Who may call what, by which rule, last used when."""
    from pyproc.access import load
    from pyproc.cli.audit import _opener
    from pyproc.enforcement import review as look

    found = load(policy)
    functions: list[str] = []
    if app is not None:
        from pyproc import Pool

        with Pool(app, workers=1, output="drop", sandbox="baseline") as pool:
            functions = sorted(pool.functions())
    used: dict[tuple[str, str], str] = {}
    if log is not None:
        from pyproc.audit.verify import read

        for line in read(log, _opener(identity_file)):
            if line.get("event") == "access.allowed":
                used[str(line.get("role")), str(line.get("function"))] = str(line.get("time"))
    lines = look(found, functions, used)
    rows = [
        [one["who"], one["function"], "yes" if one["allowed"] else f"no ({one['denied_by']})",
         one["rule"], one["last_used"] or "never" if log else "unknown"]
        for one in lines
    ]  # fmt: skip
    emit(lines, as_json, lambda: table(("who", "function", "may", "rule", "last used"), rows))


@access.command()
@click.argument("policy")
@click.argument("function")
@click.option("--uid", type=click.IntRange(0), required=True)
@click.option("--gid", type=click.IntRange(0), multiple=True)
@click.option("--key", default="", help="The name of a key that the caller has proved.")
@json_option
def ask(
    policy: str, function: str, uid: int, gid: tuple[int, ...], key: str, as_json: bool
) -> None:
    """Whether a caller may call FUNCTION, and by which rule; exit code 1 when not."""
    from pyproc.access import Peer, load

    decision = load(policy).decide(Peer(uid, frozenset(gid), key), function)
    word = "allowed" if decision.allowed else "denied"
    emit(
        {"allowed": decision.allowed, "rule": decision.rule},
        as_json,
        lambda: click.echo(f"{word}: {decision.rule}"),
    )
    if not decision.allowed:
        raise Exit(NO)
