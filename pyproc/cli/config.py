"""`pyproc config`: check a configuration, show what is in force and where it is from."""

from __future__ import annotations

from typing import Any

import click

from pyproc.cli.common import emit, json_option, pairs, table
from pyproc.configuration import Loaded, from_text, load, secretless

_set = click.option(
    "--set", "given", multiple=True, metavar="KEY=VALUE", help="Wins over file and environment."
)


def loaded(path: str | None, given: tuple[str, ...]) -> Loaded:
    """File, environment and `--set` options. ConfigError."""
    arguments: dict[str, Any] = {}
    for key, text in pairs(given, "--set").items():
        arguments[key] = from_text(text, key)
    return load(path, arguments=arguments)


@click.group()
def config() -> None:
    """Checks and shows configurations."""


@config.command()
@click.argument("file", required=False)
@_set
@json_option
def check(file: str | None, given: tuple[str, ...], as_json: bool) -> None:
    """Whether FILE (else PYPROC_CONFIG), environment and options make sense; 2 when not."""
    found = loaded(file, given)
    policy = found.serve_options().get("policy")
    if policy is not None:
        from pyproc.access import load as load_policy

        load_policy(policy)
    count = len(found.settings)
    emit({"settings": count}, as_json, lambda: click.echo(f"{count} settings: sound"))


@config.command()
@click.argument("file", required=False)
@_set
@json_option
def show(file: str | None, given: tuple[str, ...], as_json: bool) -> None:
    """Each value in force and where it is from; values of env tables are not shown."""
    found = secretless(loaded(file, given).settings)
    rows = [[one.key, one.value, one.source] for one in found]
    emit([one._asdict() for one in found], as_json, lambda: table(("key", "value", "from"), rows))
