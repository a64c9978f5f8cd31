"""The floor of a pool's start: a bare interpreter that imports the app and ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.contenders.base import Contender

ROOT = Path(__file__).resolve().parent.parent.parent


def import_in_new_interpreter(app: str) -> None:
    """`python -I -c "import APP"`, by the cheapest way to start a program."""
    # -I drops the current folder, where the app is: it is put back by hand.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {app}"
    argv = [sys.executable, "-I", "-c", code]
    pid = os.posix_spawn(sys.executable, argv, os.environ)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError(f"importing {app} ended with {os.waitstatus_to_exitcode(status)}")


class Interpreter(Contender):
    name = "python -I"
    offers = frozenset({"start"})

    def version(self) -> str:
        return 'python -I -c "import APP"'

    def latencies(self, seconds: float, calls: int, warm: int) -> list[float]:
        raise NotImplementedError("a bare interpreter answers no calls")

    def start(self, app: str) -> None:
        import_in_new_interpreter(app)

    def close(self) -> None:
        """Nothing is left to close."""
