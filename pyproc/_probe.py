"""A sandbox tried out: a worker of its own tries what must not work, and says what it was told."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from pyproc._report import Line
from pyproc.errors import SandboxViolation

if TYPE_CHECKING:
    from pyproc.sandbox import Sandbox

_START = 60.0


def lines(wanted: Sandbox, python: str) -> list[Line]:
    """Opens a pool with one worker in the same sandbox, without the application. Takes what a start
    takes. Raises as Pool does."""
    from pyproc.config import Timeouts
    from pyproc.pool import Pool

    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker", "probing.py")
    with tempfile.TemporaryDirectory(prefix="pyproc-probe-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103  # nosec B103: only the sandbox is to refuse it
        path = os.path.join(folder, "file")
        with open(path, "w"):
            os.chmod(path, 0o644)
        with Pool(
            target, workers=1, python=None if python == sys.executable else python,
            sandbox=wanted, start_method="exec", output="drop",
            timeouts=Timeouts(start=_START, task=_START),
        ) as pool:  # fmt: skip
            answers = pool.call("attempts", path, os.getpid())
            found = [Line(f"probe: {deed}", answer, "worker") for deed, answer in answers]
            found.append(_never(pool.call))
    return found


def _never(call: object) -> Line:
    assert callable(call)
    try:
        return Line("probe: unmount", str(call("unmounts")), "worker")
    except SandboxViolation as error:
        how = "SIGSYS" if error.signal == 31 else "the host, by the tripwire"
        return Line("probe: unmount", f"refused: ended by {how}", "kernel")
