"""What the documents and examples show is what happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import python_path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_document.py")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def run(command: list[str], folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """The ended process; its environment leads to this checkout."""
    environment = os.environ | {"PYTHONPATH": python_path(folder, ROOT)} | extra
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.mark.no_sanitizer("a limit on address space, which a document shows, leaves it no room")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_blocks_of_a_document_run_and_print_what_it_says(
    document: Path, tmp_path: Path
) -> None:
    done = run([sys.executable, str(RUNNER), str(document)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "blocks ran" in done.stdout


def test_the_quickstart_survives_its_two_bad_calls(tmp_path: Path) -> None:
    done = run([sys.executable, str(ROOT / "examples/quickstart.py")], tmp_path)
    assert done.stdout.splitlines() == [
        "['1', '22']",
        "TaskTimeout: search was stopped in its run stage",
        "WorkerCrashed: signal 11 in broken",
        "['the', 'pool', 'goes', 'on']",
    ], done.stderr


@pytest.mark.no_sanitizer("the program is not linked with the sanitizer's runtime")
def test_a_c_program_without_python_calls_python_functions(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler here")
    folder = ROOT / "examples/c_host"
    asked = [sys.executable, "-m", "pyproc", "--cflags", "--libs"]
    flags = run(asked, tmp_path).stdout.split()
    built = run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", str(folder / "main.c"), *flags,
         "-o", "c_host"],
        tmp_path,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    missing = "no function 'missing' is exposed; there are: crash, digits, divide, greet"
    done = run(["./c_host", sys.executable, str(folder / "app.py")], tmp_path)
    assert done.stdout.splitlines() == [
        "value: hello, C",
        "raised: ZeroDivisionError: division by zero",
        "crashed: signal 6",
        "value: hello, the next worker",
        f"raised: pyproc.UnknownFunction: {missing}",
        *[f"item: {number % 10}" for number in range(12)],
        "the stream ended after enough",
    ], done.stderr
