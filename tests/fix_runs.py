"""Whole pytest runs in processes of their own, with the plugin of this checkout."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

PACKAGE_PARENT = Path(__file__).resolve().parent.parent
#: Seconds that one run may take.
DEADLINE = 120.0


class Runs:
    """Writes files into an empty folder and runs pytest there."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.path = pytester.path
        monkeypatch.setenv("PYTHONPATH", str(PACKAGE_PARENT))
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        for name in [name for name in os.environ if name.startswith(("PYTEST_", "COV_"))]:
            if name != "PYTEST_CURRENT_TEST":
                monkeypatch.delenv(name)

    def file(self, name: str, text: str) -> None:
        """A file with that text."""
        (self.path / name).write_text(text)

    def pytest(self, *arguments: str, test: str = "", runner: tuple[str, ...] = ("-m", "pytest")
               ) -> pytest.RunResult:  # fmt: skip
        """Runs the tests of the folder; `test` becomes test_it.py."""
        if test:
            self.file("test_it.py", test)
        loads = () if _is_installed() else ("-p", "pyproc.pytest_plugin")
        command = (sys.executable, *runner, *loads, *arguments)
        return self.pytester.run(*command, timeout=DEADLINE)


def _is_installed() -> bool:
    """Whether pytest finds the plugin by itself."""
    return any(point.name == "pyproc" for point in metadata.entry_points(group="pytest11"))


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Whole pytest runs."""
    return Runs(pytester, monkeypatch)
