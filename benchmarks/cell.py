"""Runs one cell in this process: `python -m benchmarks.cell REQUEST`, started by `rounds.py`.

REQUEST is JSON; the figures go as one line of JSON to standard output. What contenders print goes
to standard error instead.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from benchmarks.contenders import CONTENDERS
from benchmarks.measurements import MEASUREMENTS
from benchmarks.model import Cell, Settings


def request(cell: Cell, settings: Settings) -> str:
    """The argument that makes a new process run this cell."""
    return json.dumps({"cell": asdict(cell), "settings": asdict(settings)})


def run(text: str) -> dict[str, float]:
    """The figures of the cell that was asked for."""
    asked = json.loads(text)
    cell, settings = Cell(**asked["cell"]), Settings(**asked["settings"])
    contender = CONTENDERS[cell.contender]()
    return MEASUREMENTS[cell.measurement].measure(contender, cell.variant, settings)


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # also for workers that inherit it
    figures = run(sys.argv[1])
    answer.write(json.dumps(figures) + "\n")
    answer.close()


if __name__ == "__main__":
    main()
