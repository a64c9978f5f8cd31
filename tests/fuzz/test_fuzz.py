"""Builds each fuzz target with libFuzzer and gives it its corpus and a short, fixed run.

A finding is a crash, a sanitizer's report, memory beyond the limit or an input that takes
seconds. `tests/README.md` says how to fuzz for longer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fix_build import CoreBuild, run_program

HERE = Path(__file__).resolve().parent
TARGETS = sorted(HERE.glob("fuzz_*.c"))
RUNS = 20_000
SANITIZE = ("address", "undefined", "fuzzer-no-link")


def find_clang(folder: Path) -> str:
    """A clang that links a fuzz target; skips, and says why, when there is none."""
    probe = folder / "probe.c"
    probe.write_text(
        "#include <stddef.h>\n#include <stdint.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { return d == 0 && n == 1; }\n"
    )
    said = "no clang is installed"
    for name in ("clang", "clang-14", "clang-16", "clang-17", "clang-18", "clang-19"):
        if shutil.which(name) is None:
            continue
        command = [name, "-fsanitize=fuzzer,address", str(probe), "-o", str(folder / "probe")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode == 0:
            return name
        said = f"{name} cannot link a fuzz target: {done.stderr.strip()[-300:]}"
    pytest.skip(f"NOT FUZZED: {said}; install clang-14 and libclang-rt-14-dev")


@pytest.fixture(scope="session")
def fuzz_build(build_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CoreBuild:
    """The core built for coverage-guided fuzzing."""
    clang = find_clang(tmp_path_factory.mktemp("probe"))
    return CoreBuild(build_folder, SANITIZE, cc=[clang])


def python_library() -> list[str]:
    """How a program embeds this interpreter; skips when its library is not there."""
    variables = sysconfig.get_config_vars()
    for folder in (variables["LIBDIR"], variables["LIBPL"]):
        library = Path(folder) / variables["LDLIBRARY"]
        if library.exists():
            others = f"{variables['LIBS']} {variables['SYSLIBS']}".split()
            return [str(library), f"-Wl,-rpath,{folder}", "-rdynamic", *others]
    pytest.skip("NOT FUZZED: there is no library of this interpreter; install python3-dev")


@pytest.mark.parametrize("source", TARGETS, ids=lambda path: str(path.stem))
def test_no_input_breaks_the_parser(source: Path, fuzz_build: CoreBuild, tmp_path: Path) -> None:
    corpus = HERE / "corpus" / source.stem.removeprefix("fuzz_")
    assert any(corpus.iterdir()), f"{corpus.name} has no corpus"
    python = '#include "binding/' in source.read_text()
    program = fuzz_build.program(
        source,
        "-fsanitize=fuzzer",
        *(python_library() if python else []),
        compile_flags=[f"-isystem{sysconfig.get_path('include')}"] if python else [],
    )
    found = tmp_path / "found"
    found.mkdir()
    limits = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"]
    where = [f"-artifact_prefix={tmp_path}/"]
    # The interpreter finds its library by its own place, not by the fuzzer's; it keeps
    # memory for ever, so leaks are looked for in the sanitised run of the whole suite.
    home = {"PYTHONHOME": sys.base_prefix} if python else {}
    if python:
        home["ASAN_OPTIONS"] = "detect_leaks=0:allocator_may_return_null=1"
    run_program(
        program, f"-runs={RUNS}", "-seed=1", *limits, *where, str(found), str(corpus), extra=home
    )


def test_there_are_fuzz_targets() -> None:
    assert TARGETS, "the fuzz targets are gone"
