"""Builds and runs each C program beside this file: one program, one item."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fix_build import CoreBuild, run_program

HERE = Path(__file__).resolve().parent
PROGRAMS = sorted(HERE.glob("test_*.c"))


def link_flags(source: Path) -> list[str]:
    """What a line `/* link: FLAGS */` of the program asks of the linker."""
    lines = source.read_text().splitlines()
    asked = [line for line in lines if line.startswith("/* link: ")]
    return [word for line in asked for word in line[len("/* link: ") : -len(" */")].split()]


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda path: str(path.stem))
def test_the_c_program_passes(source: Path, core_build: CoreBuild, tmp_path: Path) -> None:
    program = core_build.program(source, *link_flags(source))
    run_program(
        program,
        extra={
            "PYPROC_TEST_KEEPER": str(core_build.keeper()),
            "PYPROC_TEST_PYTHON": sys.executable,
            "PYPROC_TEST_ROOT": str(HERE.parent.parent),
            "PYPROC_TEST_GOLDEN": str(HERE / "golden"),
            "PYPROC_TEST_SCRATCH": str(tmp_path),
        },
    )


def test_every_c_file_of_this_folder_is_a_program_that_is_run() -> None:
    assert PROGRAMS, "the C tests are gone"
    assert set(HERE.glob("*.c")) == set(PROGRAMS)
