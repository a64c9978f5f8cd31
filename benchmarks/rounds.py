"""Plans the cells of a run and runs them one after the other, each in a process of its own.

The order is rounds, measurements, variants, contenders: those compared with one another follow
one another at once, and every round begins with another contender, so that what the machine does
besides hits all alike.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import cell as cells
from benchmarks.contenders import Contender
from benchmarks.measurements import MEASUREMENTS
from benchmarks.model import Cell, Reading, Settings

ROOT = Path(__file__).resolve().parent.parent
CELL_LIMIT = 120.0  # seconds; the longest cell takes about a tenth
STDERR_LINES = 12


def plan(
    names: Sequence[str], contenders: Mapping[str, Contender], settings: Settings
) -> Iterator[Cell]:
    """All cells of the named measurements, in the order in which they run."""
    for number in range(settings.rounds):
        for name in names:
            taking_part = [one for one, what in contenders.items() if name in what.offers]
            shift = number % len(taking_part) if taking_part else 0
            for variant in MEASUREMENTS[name].variants(settings):
                for contender in taking_part[shift:] + taking_part[:shift]:
                    yield Cell(name, variant, contender, number)


def run_all(
    planned: Sequence[Cell], settings: Settings, progress: Callable[[int, Cell], None]
) -> list[Reading]:
    """Runs every cell; one that fails is a reading without figures."""
    readings = []
    for index, cell in enumerate(planned):
        progress(index, cell)
        readings.append(run_one(cell, settings))
    return readings


def run_one(cell: Cell, settings: Settings, limit: float = CELL_LIMIT) -> Reading:
    """Runs one cell in a new process, and ends what is left of it."""
    command = [sys.executable, "-m", "benchmarks.cell", cells.request(cell, settings)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            _end_group(process)
            process.communicate()
            return Reading(cell, {}, f"no figures after {limit:.0f} s")
        except BaseException:  # ^C must not leave a benchmark running
            _end_group(process)
            raise
    if process.returncode != 0:
        return Reading(cell, {}, _last_lines(err) or f"ended with {process.returncode}")
    return Reading(cell, json.loads(out), None)


def _end_group(leader: subprocess.Popen[str]) -> None:
    """Kills a cell and what it started; as long as it is not reaped, the number is its own."""
    if leader.returncode is None:
        os.killpg(leader.pid, signal.SIGKILL)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:])
