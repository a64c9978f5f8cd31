"""The command: chooses what is measured, runs it, prints tables, keeps the record.

Its exit status says whether pyproc and the floor could be measured, never how fast they were.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.measurements import MEASUREMENTS
from benchmarks.model import Cell, Reading, Settings
from benchmarks.rounds import plan, run_all
from benchmarks.stats import Results
from benchmarks.targets import EXECUTOR, FLOOR, MP_POOL, US, judge

QUICK_CONTENDERS = (FLOOR, "python -I", US, EXECUTOR, MP_POOL)
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. 0: pyproc and the floor have figures; 1: they have not all of them."""
    options = _parse(arguments)
    record = json.loads(options.load.read_text()) if options.load else _measure(options)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return _show(record, options.markdown)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, four contenders")
    parser.add_argument("--only", type=_names(MEASUREMENTS), default=tuple(MEASUREMENTS))
    parser.add_argument("--contenders", type=_names(CONTENDERS), default=None)
    parser.add_argument("--rounds", type=_positive, default=None)
    parser.add_argument("--json", type=Path, help="write all readings to this file")
    parser.add_argument("--load", type=Path, help="measure nothing: show a file made by --json")
    parser.add_argument(
        "--markdown",
        type=Path,
        help=f"also write the tables as Markdown, between {BEGIN} and {END} if the file has them",
    )
    return parser.parse_args(arguments)


def _names(known: Any) -> Any:
    def names(text: str) -> tuple[str, ...]:
        asked = tuple(name.strip() for name in text.split(","))
        for name in asked:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name!r}: choose from {', '.join(known)}")
        return asked

    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    settings = Settings.quick() if options.quick else Settings()
    if options.rounds is not None:
        settings = replace(settings, rounds=options.rounds)
    asked = options.contenders or (QUICK_CONTENDERS if options.quick else tuple(CONTENDERS))
    present, absent = _present(asked)
    facts = machine.describe(present)
    planned = list(plan(options.only, present, settings))
    begin = time.monotonic()

    def progress(index: int, cell: Cell) -> None:
        words = f"{cell.measurement}, {cell.variant}, {cell.contender}"
        line = f"[{index + 1}/{len(planned)}] round {cell.round + 1}: {words}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    readings = run_all(planned, settings, progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    facts["took"] = f"{time.monotonic() - begin:.0f} s"
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *_shown_arguments(options)]),
        "machine": facts,
        "absent": absent,
        "settings": asdict(settings),
        "readings": [reading.to_json() for reading in readings],
    }


def _shown_arguments(options: argparse.Namespace) -> list[str]:
    """What decides the figures, without the names of files."""
    shown = ["--quick"] if options.quick else []
    if options.only != tuple(MEASUREMENTS):
        shown += ["--only", ",".join(options.only)]
    if options.contenders:
        shown += ["--contenders", ",".join(options.contenders)]
    if options.rounds:
        shown += ["--rounds", str(options.rounds)]
    return shown


def _present(asked: Sequence[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """Contenders that can be measured here, and why the others cannot."""
    present, absent = {}, {}
    for name in asked:
        contender = CONTENDERS[name]()
        reason = contender.missing()
        if reason is None:
            present[name] = contender
        else:
            absent[name] = reason
    return present, absent


def _show(record: dict[str, Any], target: Path | None) -> int:
    settings = Settings(**record["settings"])
    results = Results([Reading.from_json(value) for value in record["readings"]])
    found = report.tables(results, judge(results, settings), settings)
    print(report.plain(record["machine"], found))
    for name, reason in record["absent"].items():
        print(f"\nnot measured: {name}: {reason}")
    for reading in results.errors():
        cell = reading.cell
        where = f"{cell.contender}, {cell.measurement}, {cell.variant}, round {cell.round + 1}"
        print(f"\nFAILED: {where}\n{reading.error}")
    if target is not None:
        _write_markdown(target, report.markdown(record["machine"], record["command"], found))
    failed = {reading.cell.contender for reading in results.errors()} | record["absent"].keys()
    return 1 if failed & {US, FLOOR} else 0


def _write_markdown(target: Path, text: str) -> None:
    old = target.read_text() if target.exists() else ""
    head, begin, rest = old.partition(BEGIN)
    tail = rest.partition(END)[2]
    if begin:
        text = f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"
    target.write_text(text.rstrip("\n") + "\n")
