"""The storm and the loads of benchmarks.supervision: small each time, full with the slow tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORM = "tests.stress.storm"


def run(module: str, *options: str, limit: float) -> str:
    """What a program says that has to end well; a process of its own takes its interrupts."""
    command = [sys.executable, "-W", "error", "-m", module, *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
    return done.stdout


@pytest.mark.no_sanitizer("a sanitised worker's memory is not what its limit counts")
def test_a_short_storm_loses_nothing_and_leaves_nothing() -> None:
    said = run(STORM, "--seconds=8", "--seed=7", "--workers=2", "--threads=4", limit=170)
    assert "all as it should be" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.no_sanitizer("a sanitised worker's memory is not what its limit counts")
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_long_storm_loses_nothing_and_leaves_nothing(seed: str) -> None:
    assert "all as it should be" in run(STORM, "--seconds=40", f"--seed={seed}", limit=600)


@pytest.mark.parametrize("cell", ["crashes", "map", "storm", "ready", "fresh", "rounds", "deaths"])
def test_a_small_load_of_each_kind_is_answered_right_and_leaves_nothing(cell: str) -> None:
    assert "WRONG" not in run("benchmarks.supervision", cell, "--scale=0.02", limit=150)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", ["crashes", "map", "storm", "rounds", "deaths"])
def test_a_full_load_of_each_kind_is_answered_right_and_leaves_nothing(cell: str) -> None:
    assert "WRONG" not in run("benchmarks.supervision", cell, limit=800)
