"""A C program as a client: examples/c_client, built against the library as users get it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyproc
from pyproc.server import Server

ROOT = Path(__file__).resolve().parents[2]
TARGET = str(Path(__file__).resolve().parent / "apps" / "served.py")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    flags = subprocess.run(
        [sys.executable, "-m", "pyproc", "--cflags", "--libs"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    program = tmp_path_factory.mktemp("c") / "c_client"
    source = ROOT / "examples" / "c_client" / "main.c"
    command = [compiler, "-Wall", "-Werror", str(source), *shlex.split(flags), "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)
    return program


@pytest.fixture
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool(TARGET, workers=2) as pool:
        yield pool


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_c_program_calls_a_served_pool(program: Path, pool: pyproc.Pool, tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    with Server(pool, path):
        done = run(program, path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "value: 42"
    assert sorted(lines[1:]) == sorted(f"value: {2 * n}" for n in range(8))


def test_a_c_program_proves_to_hold_a_key(program: Path, pool: pyproc.Pool, tmp_path: Path) -> None:
    path, key = tmp_path / "run" / "s.sock", tmp_path / "ops.key"
    key.write_bytes(os.urandom(32).hex().encode())
    key.chmod(0o600)
    with Server(pool, path, keys={"ops": key}, require_key=True):
        assert run(program, path, key).returncode == 0
        refused = run(program, path)
        assert refused.returncode == 1
        assert "end 40" in refused.stdout
        key.chmod(0o644)
        assert "chmod 0600" in run(program, path, key).stderr
