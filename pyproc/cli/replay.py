"""`pyproc replay`: makes the call of a crash bundle again, in a pool of its own."""

from __future__ import annotations

import json

import click

from pyproc.cli.calls import _config, _sandbox, _shown, options_of
from pyproc.cli.common import NO, Exit, Stop, emit, json_option
from pyproc.cli.config import _set


@click.command()
@click.argument("bundle")
@click.option("--target", help="Another application than the bundle names.")
@click.option("--show", is_flag=True, help="Only prints what the bundle holds.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True)
@_sandbox
@_config
@_set
@json_option
def replay(
    bundle: str, target: str | None, show: bool, timeout: float, sandbox: str | None,
    file: str | None, given: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Makes the call of BUNDLE again; exit code 0: it ends as it did, 1: it ends otherwise."""
    from pyproc import Pool
    from pyproc import bundle as bundles
    from pyproc.codec import decode_value

    found = bundles.load(bundle)
    if show:
        click.echo(json.dumps(found, indent=None if as_json else 1))
        return
    payload, codec, keywords = bundles.request_of(found)
    place = target or str(found.get("target") or "")
    if not place:
        raise Stop("the bundle names no application: --target is needed")
    options = options_of(file, given, sandbox, 1)
    with Pool(place, **options) as pool:
        try:
            value = pool._core.call(
                str(found["function"]), payload, codec, keywords, timeout, False, None
            )
            if type(value) is tuple:
                value = decode_value(value[1], value[0], None)
            ended, text = "value", json.dumps(value, default=_shown)[:1000]
        except Exception as error:
            ended, text = type(error).__name__, str(error)
    same = ended == found["error"]
    result = {"before": found["error"], "now": ended, "same": same, "text": text}

    def say() -> None:
        click.echo(f"before: {found['error']}; now: {ended}")
        click.echo(text)

    emit(result, as_json, say)
    if not same:
        raise Exit(NO)
