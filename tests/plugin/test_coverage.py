"""Coverage sees the lines that workers run, whoever started it."""

from __future__ import annotations

import json

import pytest
from fix_runs import Runs

LIBRARY = """
def used(number):
    if number > 1:
        return "big"
    return "small"

def crashes():
    import os
    os.abort()

def unused():
    return 0
"""
APP = """
import pyproc
app = pyproc.App()

@app.expose
def double(number: int) -> int:
    if number > 5:
        return 0
    return 2 * number
"""
TEST = """
import pytest, library

@pytest.mark.isolated
def test_big(): assert library.used(3) == "big"
@pytest.mark.isolated
def test_crash(): library.crashes()
@pytest.mark.isolated
def test_small(): assert library.used(1) == "small"
@pytest.mark.parametrize("how", ["template", "exec"])
def test_pool(pyproc_pool_factory, how):
    assert pyproc_pool_factory("shop:app", start_method=how).call("double", 3) == 6
"""


def missing(runs: Runs) -> dict[str, list[int]]:
    """Lines that were not run, of each file, from coverage's own report."""
    import sys

    runs.pytester.run(sys.executable, "-m", "coverage", "json", "-o", "report.json")
    report = json.loads((runs.path / "report.json").read_text())
    return {name: entry["missing_lines"] for name, entry in report["files"].items()}


@pytest.mark.parametrize(
    ("runner", "arguments"),
    [
        (("-m", "coverage", "run", "--source=.", "-m", "pytest"), ()),
        (("-m", "pytest"), ("--cov=.",)),
        (("-m", "pytest"), ("--cov=.", "--cov-branch")),
        (("-m", "pytest"), ("--cov=.", "-n", "2")),
    ],
    ids=["coverage run", "pytest-cov", "branches", "xdist"],
)
def test_lines_that_only_workers_run_are_measured(
    runs: Runs, runner: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    for name in ("coverage", "pytest_cov", "xdist"):
        pytest.importorskip(name, reason=f"{name} is not installed: coverage was not tried")
    runs.file("library.py", LIBRARY)
    runs.file("shop.py", APP)
    done = runs.pytest(*arguments, test=TEST, runner=runner)
    done.assert_outcomes(passed=4, failed=1)
    lines = missing(runs)
    assert 4 not in lines["library.py"]
    assert 5 not in lines["library.py"]
    assert 12 in lines["library.py"]
    assert lines["shop.py"] == [8]
    assert list(runs.path.glob(".coverage.*")) == []
