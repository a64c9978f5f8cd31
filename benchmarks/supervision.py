"""What deaths, hangs and restarts cost: `python -m benchmarks.supervision [CELL...]`.

Each cell makes its load, checks every answer, and prints what was reached beside what is wanted.
Exit status: 1 when an answer was wrong, lost or hung, or something was left behind; never
because something was slow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import supervision_ends, supervision_loads
from benchmarks.supervision_model import Cell, Report

APP = Path(__file__).parent / "apps" / "breaking.py"
CELLS: dict[str, tuple[str, Cell]] = {
    "crashes": ("every 100th of 10,000 calls segfaults", supervision_loads.crashes),
    "map": ("every 1,000th item of a map of 100,000", supervision_loads.mapped),
    "storm": ("a strike every 50 ms under 20,000 calls", supervision_loads.storm),
    "ready": ("until a worker is ready after a death", supervision_loads.ready),
    "fresh": ("a process of its own for each call", supervision_loads.fresh),
    "deadline": ("a deadline of 1.0 s in a call that hangs", supervision_ends.deadline),
    "rounds": ("1,000 pools opened and closed", supervision_ends.rounds),
    "deaths": ("10,000 worker deaths", supervision_ends.deaths),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.supervision")
    parser.add_argument("cells", nargs="*", metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full numbers")
    options = parser.parse_args(arguments)
    unknown = set(options.cells) - CELLS.keys()
    if unknown:
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
    wrong = 0
    print("| cell | figure | reached | wanted |\n| :-- | :-- | --: | --: |", flush=True)
    for name in options.cells or CELLS:
        wrong += run(*CELLS[name], options.scale)
    return 1 if wrong else 0


def run(title: str, cell: Callable[[Path, float, Report], None], scale: float) -> int:
    """One cell's lines; how many of them say that something went wrong."""
    report = Report(title)
    cell(APP, scale, report)
    return report.wrong


if __name__ == "__main__":
    sys.exit(main())
