"""`call` and `bench`: a pool for one command."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import click

from pyproc.cli.common import NO, Exit, emit, json_option, pairs, table, value_of
from pyproc.cli.config import _set, loaded
from pyproc.errors import Error, RemoteError

_config = click.option("--config", "file", metavar="FILE", help="A pyproc.toml.")
_sandbox = click.option(
    "--sandbox", type=click.Choice(["none", "baseline", "strict", "compute"]),
    help="What the worker may do.",
)  # fmt: skip


def options_of(
    file: str | None, given: tuple[str, ...], sandbox: str | None, workers: int | None
) -> dict[str, Any]:
    """Pool's options of a command; a pool of one command is asked by nobody else."""
    options = loaded(file, given).pool_options()
    options.pop("control", None)
    if sandbox is not None:
        options["sandbox"] = sandbox
    if workers is not None:
        for name in ("min_workers", "max_workers"):
            options.pop(name, None)
        options["workers"] = workers
    return options


@click.command()
@click.argument("target")
@click.argument("function")
@click.argument("arguments", nargs=-1)
@click.option("--kw", multiple=True, metavar="NAME=VALUE", help="An argument by name.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds it may run.")
@click.option("--memory", metavar="SIZE", help="As 256MiB.")
@_sandbox
@_config
@_set
@json_option
def call(
    target: str, function: str, arguments: tuple[str, ...], kw: tuple[str, ...],
    timeout: float | None, memory: str | None, sandbox: str | None, file: str | None,
    given: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Calls FUNCTION of TARGET ('docs:app' or docs.py) in a worker of its own.

    Arguments are JSON where they are, else text. Exit code 1: the function raised; 5: it ended
    without an answer (death, limit).
    """
    from pyproc import Pool

    words = [value_of(text) for text in arguments]
    named = {name: value_of(text) for name, text in pairs(kw, "--kw").items()}
    with Pool(target, **options_of(file, given, sandbox, 1)) as pool:
        calls = pool.options(timeout=timeout if timeout is not None else False, memory=memory)
        try:
            value = calls.call(function, *words, **named)
        except Error as error:
            if not isinstance(error, RemoteError):
                raise
            _raised(error.type_name, error.message, as_json)
        except Exception as error:
            _raised(type(error).__name__, str(error), as_json)
    if as_json:
        click.echo(json.dumps({"result": value}, default=_shown))
    else:
        click.echo(value if isinstance(value, str) else json.dumps(value, default=_shown))


def _raised(name: str, message: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"raised": {"type": name, "message": message}}))
    else:
        click.echo(f"{name}: {message}", err=True)
    raise Exit(NO)


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


@click.command()
@click.argument("target")
@click.argument("function")
@click.argument("arguments", nargs=-1)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=3.0, show_default=True)
@click.option("--workers", type=click.IntRange(1, 4096), default=1, show_default=True)
@_sandbox
@_config
@_set
@json_option
def bench(
    target: str, function: str, arguments: tuple[str, ...], seconds: float, workers: int,
    sandbox: str | None, file: str | None, given: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """How long calls of FUNCTION take: one after the other, and as a stream of submitted ones."""
    from pyproc import Pool

    words = [value_of(text) for text in arguments]
    begun = time.perf_counter()
    with Pool(target, **options_of(file, given, sandbox, workers)) as pool:
        opened = time.perf_counter() - begun
        pool.call(function, *words)
        spent: list[float] = []
        until = time.perf_counter() + seconds / 2
        while (start := time.perf_counter()) < until:
            pool.call(function, *words)
            spent.append(time.perf_counter() - start)
        count = 0
        start = time.perf_counter()
        while time.perf_counter() < start + seconds / 2:
            futures = [pool.submit(function, *words) for _ in range(64 * workers)]
            for future in futures:
                future.result()
            count += len(futures)
        rate = count / (time.perf_counter() - start)
    spent.sort()
    found = {
        "open_seconds": opened,
        "calls": len(spent),
        "p50_seconds": statistics.median(spent),
        "p99_seconds": spent[min(len(spent) - 1, int(len(spent) * 0.99))],
        "calls_per_second": len(spent) / sum(spent),
        "submitted_per_second": rate,
    }
    rows = [
        ["pool opened in", f"{opened * 1e3:.1f} ms"],
        ["one call, p50", f"{found['p50_seconds'] * 1e6:.1f} us"],
        ["one call, p99", f"{found['p99_seconds'] * 1e6:.1f} us"],
        ["one after the other", f"{found['calls_per_second']:.0f} calls/s"],
        ["submitted", f"{rate:.0f} calls/s"],
    ]
    emit(found, as_json, lambda: table(("what", "value"), rows))


@click.command()
@click.argument("target")
def worker(target: str) -> None:
    """Serves TARGET (docs.py, or 'module:app') to the Go project's pool, PYPROC_SOCKET_PATH."""
    from pyproc.gopool.run import main as serve

    serve([target])
