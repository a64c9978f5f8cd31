"""The storm as a test: a short one each time, a long one with the slow tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*options: str, limit: float) -> None:
    """A storm in a process of its own, which takes its interrupts."""
    command = [sys.executable, "-W", "error", "-m", "tests.stress.storm", *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-20_000:]
    assert "all as it should be" in done.stdout


@pytest.mark.no_sanitizer("a sanitised worker's memory is not what its limit counts")
def test_a_short_storm_loses_nothing_and_leaves_nothing() -> None:
    run("--seconds", "8", "--seed", "7", "--workers", "2", "--threads", "4", limit=170)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.no_sanitizer("a sanitised worker's memory is not what its limit counts")
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_long_storm_loses_nothing_and_leaves_nothing(seed: str) -> None:
    run("--seconds", "40", "--seed", seed, limit=600)
