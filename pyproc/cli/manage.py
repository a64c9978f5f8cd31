"""`dump`, `drain`, `reload`, `resize`, `isolate`, `release`, `kill`: changing a running pool."""

from __future__ import annotations

from typing import Any

import click

from pyproc.cli.common import NO, Exit, Stop, asking, control_option, emit, json_option

_timeout = click.option(
    "--timeout", type=click.FloatRange(0), default=None, help="Seconds [default: no limit]."
)


def _ask(control: str | None, command: str, **arguments: Any) -> Any:
    """Waits for the answer as long as the command itself may take, and a little more."""
    timeout = arguments.get("timeout", 30.0)
    given = {name: value for name, value in arguments.items() if value is not None}
    with asking(control, None if timeout is None else timeout + 30) as client:
        return client.ask(command, **given)


@click.command()
@click.argument("worker", type=int)
@control_option
@json_option
def dump(worker: int, control: str | None, as_json: bool) -> None:
    """The Python stacks of a living WORKER (its number in `pyproc ps`); it goes on."""
    found = _ask(control, "dump", worker=worker)
    emit(found, as_json, lambda: click.echo(found["stack"].rstrip("\n")))


@click.command()
@_timeout
@control_option
@json_option
def drain(timeout: float | None, control: str | None, as_json: bool) -> None:
    """Refuses new calls and waits for those that are under way; exit code 1 when some are left."""
    done = _ask(control, "drain", timeout=timeout)
    emit({"drained": done}, as_json, lambda: click.echo("drained" if done else "calls are left"))
    if not done:
        raise Exit(NO)


@click.command()
@_timeout
@control_option
@json_option
def reload(timeout: float | None, control: str | None, as_json: bool) -> None:
    """Goes over to freshly imported code, call by call; wrong code changes nothing."""
    found = _ask(control, "reload", timeout=timeout)
    emit(found, as_json, lambda: click.echo(f"generation {found['generation']}"))


@click.command()
@click.option("--min", "least", type=click.IntRange(1), help="Workers that are always there.")
@click.option("--max", "most", type=click.IntRange(1), help="Workers at most.")
@control_option
@json_option
def resize(least: int | None, most: int | None, control: str | None, as_json: bool) -> None:
    """Sets how many workers there may be."""
    if least is None and most is None:
        raise Stop("--min or --max is needed")
    found = _ask(control, "resize", min_workers=least, max_workers=most)
    emit(found, as_json, lambda: click.echo("{min_workers} to {max_workers}".format(**found)))


@click.command()
@click.argument("function")
@control_option
@json_option
def isolate(function: str, control: str | None, as_json: bool) -> None:
    """Refuses calls of FUNCTION until it is released; running ones go on."""
    found = _ask(control, "isolate", function=function)
    emit(found, as_json, lambda: click.echo("isolated: " + ", ".join(found)))


@click.command()
@click.argument("function", required=False)
@control_option
@json_option
def release(function: str | None, control: str | None, as_json: bool) -> None:
    """Lifts isolation, quarantine and open circuits, of FUNCTION or of all."""
    found = _ask(control, "release", function=function)
    emit(found, as_json, lambda: click.echo(f"released, {found['requests']} requests forgotten"))


@click.command()
@click.argument("worker", type=int)
@control_option
@json_option
def kill(worker: int, control: str | None, as_json: bool) -> None:
    """Ends WORKER at once; its call fails, another worker takes its place."""
    found = _ask(control, "kill", worker=worker)
    emit(found, as_json, lambda: click.echo(f"killed pid {found['pid']}"))
