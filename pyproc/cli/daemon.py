"""`pyproc serve`: a daemon that gives other processes a pool over a named socket."""

from __future__ import annotations

from typing import Any

import click

from pyproc.cli.common import Stop
from pyproc.cli.config import _set, loaded


def options_of_serve(found: dict[str, Any]) -> dict[str, Any]:
    """`[serve]` as the options of `pyproc.serving.serve`. Stop names what is wrong."""
    from pyproc.serving import key_names

    options = dict(found)
    if "mode" in options:
        try:
            options["mode"] = int(str(options["mode"]), 8)
        except ValueError:
            raise Stop(f'serve.mode={options["mode"]!r}: octal digits, as "0600"') from None
    if "keys" in options:
        folder = options["keys"]
        options["keys"] = key_names(folder)
        if not options["keys"]:
            raise Stop(f"serve.keys={folder!r}: there is no NAME.key in that directory")
    for name in ("owner", "group"):
        if name in options:
            from pyproc.sandbox import resolve_user

            kind = "user" if name == "owner" else "group"
            options[name] = resolve_user(kind, options[name])
    return options


@click.command()
@click.argument("target", required=False)
@click.option("--socket", metavar="PATH", help="Where to listen; not needed under systemd.")
@click.option("--policy", metavar="FILE", help="Who may call what; read again with SIGHUP.")
@click.option("--http", metavar="ADDRESS", help="Status page: 127.0.0.1:PORT or unix:PATH.")
@click.option("--metrics", metavar="ADDRESS", help="Only /metrics, for Prometheus; or a port.")
@click.option("--config", "file", metavar="FILE", help="A pyproc.toml.")
@_set
def serve(
    target: str | None, socket: str | None, policy: str | None, http: str | None,
    metrics: str | None, file: str | None, given: tuple[str, ...],
) -> None:  # fmt: skip
    """Serves TARGET ('docs:app' or docs.py; else the configuration's) until SIGTERM or SIGINT."""
    from pyproc.serving import serve as run

    found = loaded(file, given)
    options = options_of_serve(found.serve_options())
    chosen = (("socket", socket), ("policy", policy), ("http", http), ("metrics", metrics))
    for name, value in chosen:
        if value is not None:
            options[name] = value
    for name in ("http", "metrics"):
        if str(options.get(name, "")).isdecimal():  # a port alone is one of this machine
            options[name] = f"127.0.0.1:{options[name]}"
    run(target or found.target(), pool=found.pool_options(), **options)
