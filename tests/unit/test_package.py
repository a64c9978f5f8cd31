"""What the built binaries are: their modes, what they need and what they let others see."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "pyproc"

pytestmark = [
    pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils is not installed"),
    pytest.mark.no_sanitizer(reason="a sanitised binary needs and shows its runtime"),
]


def elf(option: str, path: Path) -> list[list[str]]:
    """`readelf OPTION FILE` as lines of words."""
    done = subprocess.run(
        ["readelf", "--wide", option, str(path)], capture_output=True, text=True, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def needed(path: Path) -> set[str]:
    """The shared libraries that a binary asks for."""
    return {line[-1].strip("[]") for line in elf("--dynamic", path) if "(NEEDED)" in line}


def exported(path: Path) -> set[str]:
    """The symbols that a binary defines for others."""
    return {
        line[7]
        for line in elf("--dyn-syms", path)
        if len(line) >= 8 and line[4] in ("GLOBAL", "WEAK") and line[6] not in ("UND", "Ndx")
    }


def one(pattern: str) -> Path:
    """The only file of the package that fits."""
    found = sorted(PACKAGE.glob(pattern))
    assert found, f"{pattern} is not built: run make"
    return found[0]


def test_the_keeper_is_executable_and_needs_libc_only() -> None:
    keeper = one("pyproc-keeper")
    assert stat.S_IMODE(keeper.stat().st_mode) == 0o755
    assert needed(keeper) <= {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def test_the_worker_module_needs_no_libuv() -> None:
    assert not [name for name in needed(one("_worker.abi3.so")) if name.startswith("libuv")]


@pytest.mark.parametrize("module", ["_core", "_worker"])
def test_a_module_shows_only_its_init_function(module: str) -> None:
    assert exported(one(f"{module}.*.so")) == {f"PyInit_{module}"}


def test_the_c_library_shows_only_its_public_names() -> None:
    library = one("lib/libpyproc.so")
    names = exported(library)
    assert names
    assert all(name.startswith("pyproc_") for name in names)
    declared = one("include/pyproc.h").read_text() + one("include/pyproc_named.h").read_text()
    assert [name for name in names if f"{name}(" not in declared] == []


@pytest.mark.parametrize("pattern", ["_core.*.so", "_worker.*.so", "pyproc-keeper", "lib/*.so"])
def test_binaries_are_hardened(pattern: str) -> None:
    path = one(pattern)
    headers = elf("--program-headers", path)
    stack = next(line for line in headers if line[:1] == ["GNU_STACK"])
    assert "E" not in stack[6]
    assert any(line[:1] == ["GNU_RELRO"] for line in headers)
    flags = {word for line in elf("--dynamic", path) for word in line}
    assert flags & {"BIND_NOW", "NOW"}
    assert any("DYN" in line for line in elf("--file-header", path))
