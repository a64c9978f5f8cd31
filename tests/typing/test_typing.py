"""Type checkers see the public API as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyproc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
pytest.importorskip("mypy", reason="mypy is not in this environment: make lint runs these")


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A tool's end, run from the checkout with its configuration."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip


def mypy(name: str, cache: Path) -> str:
    options = ["--strict", "--no-error-summary", "--config-file=", f"--cache-dir={cache}"]
    return run("mypy", *options, str(HERE / name)).stdout


def test_what_users_write_is_accepted(tmp_path: Path) -> None:
    assert mypy("accepted.py", tmp_path) == ""


def test_each_mistake_is_refused_for_its_reason(tmp_path: Path) -> None:
    lines = (HERE / "refused.py").read_text().splitlines()
    expected = {
        (number, found[1])
        for number, line in enumerate(lines, 1)
        if (found := re.search(r"# E: (\S+)$", line))
    }
    said = mypy("refused.py", tmp_path)
    got = {(int(n), code) for n, code in re.findall(r":(\d+): error: .*\[(\S+)\]", said)}
    assert got == expected, said


def test_the_stubs_are_as_the_modules(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    # Before Python 3.12 the buffer protocol is C's alone; a checker knows it by this name.
    old = sys.version_info < (3, 12)
    buffers = "pyproc._core.Memory.__buffer__\npyproc._worker.Map.__buffer__\n"
    allowed.write_text(buffers if old else "")
    done = run(
        "mypy.stubtest", "pyproc._core", "pyproc._worker", f"--allowlist={allowed}",
        "--ignore-positional-only",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(pyproc.__file__).parent / "py.typed").exists()


def test_every_public_name_can_be_imported() -> None:
    assert {name for name in pyproc.__all__ if not hasattr(pyproc, name)} == set()
