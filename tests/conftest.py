"""Options and fixtures of every test; the fixtures themselves live in `fix_*.py`, by topic."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester", "fix_build", "fix_faults", "fix_leaks", "fix_runs"]

HERE = Path(__file__).resolve().parent
SANITIZER_HOOK = HERE / "sanitizer"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Test-only options of this project."""
    group = parser.getgroup("pyproc")
    group.addoption(
        "--sanitize",
        default="",
        help="build the C tests with these sanitizers: address,undefined or thread",
    )
    group.addoption(
        "--sanitizer-runtime",
        action="store_true",
        help="the package itself is a sanitised build: hand LD_PRELOAD and the sanitizers' "
        "options on to workers, and leave out what is marked no_sanitizer",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepares a sanitised run before any test imports pyproc."""
    if config.getoption("--sanitizer-runtime"):
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SANITIZER_HOOK), before]))
        runpy.run_path(str(SANITIZER_HOOK / "sitecustomize.py"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under a sanitizer, skips by name what cannot work with it."""
    if not config.getoption("--sanitizer-runtime"):
        return
    for item in items:
        marker = item.get_closest_marker("no_sanitizer")
        if marker is not None:
            reason = marker.kwargs.get("reason") or marker.args[0]
            item.add_marker(pytest.mark.skip(reason=f"with a sanitizer: {reason}"))


def pytest_report_header() -> list[str]:
    """Says which interpreter and which build the run is about, and as whom it runs."""
    core = next(iter(sorted((HERE.parent / "pyproc").glob("_core*.so"))), None)
    return [
        f"interpreter: {sys.executable} (base {sys.base_prefix}), uid {os.getuid()}",
        f"core: {core.name if core else 'not built in the checkout'}",
    ]
