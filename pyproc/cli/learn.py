"""`pyproc learn`: runs a program and proposes the sandbox that it would need."""

from __future__ import annotations

import subprocess

import click

from pyproc.cli.common import NO, Exit, Stop, emit, json_option


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--timeout", type=float, help="Seconds the program may run.")
@json_option
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def learn(timeout: float | None, as_json: bool, words: tuple[str, ...]) -> None:
    """Runs `SCRIPT ARGUMENT...` or `-- -m MODULE ARGUMENT...` (pytest, for instance) without any
    sandbox and says what it would need in a strict one. Exit code 1 when the program failed."""
    from pyproc.learning import learn as run

    try:
        found = run(words, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Stop(f"the program ran longer than --timeout {timeout:g} s") from None
    except RuntimeError as error:
        raise Stop(str(error)) from None

    def show() -> None:
        for name in ("late", "read", "written", "programs", "network"):
            values = getattr(found, name)
            click.echo(f"{_TITLES[name]}: {', '.join(values) if values else 'none'}")
        click.echo(f"\n{found.as_python()}\n\n{found.as_toml()}")

    emit(found.as_dict(), as_json, show)
    if found.exit_code != 0:
        raise Exit(NO)


_TITLES = {
    "late": "compiled modules imported by functions",
    "read": "files read outside of what strict grants",
    "written": "files written",
    "programs": "programs and processes started",
    "network": "kinds of sockets",
}
