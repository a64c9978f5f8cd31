"""C that tests build: the core as an archive, made once per run with the project's own flags."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cbuild
import pytest

#: A C program's own limit in seconds; sanitizers make it slower, not this slow.
PROGRAM_LIMIT = 150
#: Tests ask for more memory than there is and expect NULL.
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "allocator_may_return_null=1",
    "TSAN_OPTIONS": "allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class CoreBuild:
    """Builds C programs against all of csrc but the binding, for one compiler and sanitizer set."""

    def __init__(
        self, folder: Path, sanitize: Sequence[str], *, cc: Sequence[str] | None = None
    ) -> None:
        self.builder = cbuild.Builder(folder / "c", cc=cc)
        self.folder = folder / "tests" / ("-".join([self.builder.cc[0], *sanitize]))
        self.flags = cbuild.flags_for(sanitize, werror=os.environ.get("PYPROC_WERROR") == "1")
        self.link_flags = cbuild.link_flags_for([n for n in sanitize if n != "fuzzer-no-link"])
        self._keeper: Path | None = None

    def program(
        self, source: Path, *link_flags: str, name: str = "", compile_flags: Sequence[str] = ()
    ) -> Path:
        """Compiles a program of one file and links it with what it uses of the core."""
        flags = [*self.flags, f"-I{source.parent}", *compile_flags]
        objects = self.builder.objects([source], flags)
        libraries = cbuild.pkg_config("--libs", *cbuild.LIBRARIES)
        return self.builder.link(
            self.folder / (name or source.stem),
            [*objects, self._archive()],
            [*self.link_flags, *link_flags, *libraries, "-pthread"],
        )

    def keeper(self) -> Path:
        """The keeper, built with the same flags."""
        objects = self.builder.objects(cbuild.keeper_sources(), self.flags)
        return self.builder.link(self.folder / "pyproc-keeper", objects, ["-pie", *self.link_flags])

    def _archive(self) -> Path:
        """Everything but programs' mains; the linker takes only what a test refers to."""
        rooms = dict.fromkeys((*cbuild.CORE_ROOMS, *cbuild.WORKER_ROOMS, "keeper"))
        sources = [path for path in cbuild.room_sources(*rooms) if path.name != "main.c"]
        objects = self.builder.objects([self.builder.generate(), *sources], self.flags)
        return self.builder.archive(self.folder / "libcore.a", objects)


def run_program(program: Path, *arguments: str, extra: dict[str, str] | None = None) -> None:
    """Runs a C test; its output is the failure's text."""
    try:
        done = subprocess.run(
            [program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**SANITIZER_OPTIONS, **os.environ, **(extra or {})},
            timeout=PROGRAM_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode(errors="replace")
        pytest.fail(f"{program.name} still ran after {PROGRAM_LIMIT} s\n{text}", pytrace=False)
    text = done.stdout.decode(errors="replace")
    print(text)
    if done.returncode != 0:
        pytest.fail(f"{program.name} ended with {done.returncode}\n{text}", pytrace=False)


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where C is built: the checkout's own folder, so that a second run is quick, if writable."""
    folder = cbuild.ROOT / "build"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return tmp_path_factory.mktemp("build")
    return folder if os.access(folder, os.W_OK) else tmp_path_factory.mktemp("build")


@pytest.fixture(scope="session")
def core_build(build_folder: Path, pytestconfig: pytest.Config) -> CoreBuild:
    """The core under the sanitizers of --sanitize."""
    names = str(pytestconfig.getoption("--sanitize"))
    if shutil.which(cbuild.compiler()[0]) is None:
        pytest.skip("no C compiler is installed: the C tests were not run")
    return CoreBuild(build_folder, [name for name in names.split(",") if name])
