"""`ps`, `top`, `stats`, `events`: looking at a running pool."""

from __future__ import annotations

import time
from typing import Any

import click

from pyproc.cli.common import asking, control_option, emit, json_option, size, span, table

_WORKER = ("id", "pid", "state", "tasks", "age", "rss", "gen", "start", "sandbox")


def _rows(workers: list[dict[str, Any]]) -> list[list[object]]:
    return [
        [
            one["id"], one["pid"], one["state"], one["tasks_done"], span(one["age"]),
            size(one["rss"]), one["generation"], one["start_method"], one["sandbox"],
        ]
        for one in workers
    ]  # fmt: skip


@click.command()
@control_option
@json_option
def ps(control: str | None, as_json: bool) -> None:
    """The workers of a running pool."""
    with asking(control) as client:
        workers = client.ask("ps")
    emit(workers, as_json, lambda: table(_WORKER, _rows(workers)))


@click.command()
@control_option
@json_option
def stats(control: str | None, as_json: bool) -> None:
    """Its counters."""
    with asking(control) as client:
        found = client.ask("stats")
    emit(found, as_json, lambda: table(("counter", "value"), sorted(found.items())))


@click.command()
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@control_option
@json_option
def events(limit: int, control: str | None, as_json: bool) -> None:
    """Its newest events, oldest first."""
    with asking(control) as client:
        found = client.ask("events", limit=limit)
    rows = [
        [
            time.strftime("%H:%M:%S", time.localtime(one["time"])), one["kind"],
            one["worker_id"] or "", one["pid"] or "", one["detail"].splitlines()[-1:] or "",
        ]
        for one in found
    ]  # fmt: skip
    for row in rows:
        row[4] = row[4][0] if row[4] else ""
    emit(found, as_json, lambda: table(("time", "event", "worker", "pid", "detail"), rows))


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True)
@click.option("-n", "--count", type=click.IntRange(1), help="So many times, then end.")
@control_option
@json_option
def top(interval: float, count: int | None, control: str | None, as_json: bool) -> None:
    """The pool, live, until ^C. With --json one document a line."""
    import sys

    with asking(control) as client:
        before: dict[str, Any] | None = None
        seen = 0
        live = sys.stdout.isatty() and not as_json
        if live:
            _live(client, interval, count)
            return
        while True:
            now = client.ask("top")
            if as_json:
                emit(now, True)
            else:
                click.echo(_headline(now, before))
                table(_WORKER, _rows(now["workers"]))
            seen += 1
            if count is not None and seen >= count:
                return
            before = now
            time.sleep(interval)


def _headline(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    stats_now = now["stats"]
    rate = "-"
    if before is not None and now["time"] > before["time"]:
        done = stats_now["calls_ok"] - before["stats"]["calls_ok"]
        rate = f"{done / (now['time'] - before['time']):.1f}"
    return (
        f"pid {now['pid']}  {now['health']['status']}  workers {stats_now['workers_idle']} idle "
        f"{stats_now['workers_busy']} busy  calls/s {rate}  running {stats_now['calls_running']}  "
        f"waiting {stats_now['calls_waiting']}  failed {stats_now['calls_failed']}  "
        f"crashed {stats_now['calls_crashed']}  deaths {stats_now['workers_died']}"
    )


def _live(client: Any, interval: float, count: int | None) -> None:
    from rich import box
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def draw(now: dict[str, Any], before: dict[str, Any] | None) -> Group:
        shown = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for column in _WORKER:
            shown.add_column(column)
        for row in _rows(now["workers"]):
            shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        happened = [
            f"{time.strftime('%H:%M:%S', time.localtime(one['time']))} {one['kind']} "
            f"{one['worker_id'] or ''} {one['detail'].strip().rpartition(chr(10))[2]}"
            for one in now["events"]
        ]
        return Group(Text(_headline(now, before)), shown, Text("\n".join(happened)))

    before = client.ask("top")
    with Live(draw(before, None), auto_refresh=False, screen=count is None) as live:
        seen = 1
        while count is None or seen < count:
            time.sleep(interval)
            now = client.ask("top")
            live.update(draw(now, before), refresh=True)
            before = now
            seen += 1
