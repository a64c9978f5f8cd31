"""`pyproc doctor`: what this machine can give, and what is lost without."""

from __future__ import annotations

from dataclasses import asdict

import click

from pyproc.cli.common import NO, Exit, emit, json_option, table


@click.command()
@click.option("--quick", is_flag=True, help="Without opening a pool for each profile.")
@json_option
def doctor(quick: bool, as_json: bool) -> None:
    """Asks kernel, limits and delegation; exit code 1 when pools cannot work here."""
    from pyproc.doctor import is_usable, look

    checks = look(quick)
    usable = is_usable(checks)

    def show() -> None:
        table(
            ("check", "state", "found", "lost without", "remedy"),
            [[one.name, one.state, one.found, one.lost, one.remedy if one.lost else ""]
             for one in checks],
        )  # fmt: skip

    emit({"usable": usable, "checks": [asdict(one) for one in checks]}, as_json, show)
    if not usable:
        raise Exit(NO)
