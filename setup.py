"""Builds the package's binaries; everything else about the package is in pyproject.toml.

One `build_ext` makes five files, each known to setuptools as an extension so that wheels,
editable installs and `--inplace` put all of them where they belong:
`_core` (host), `_worker` (one file for every 3.11+ worker interpreter), the `pyproc-keeper`
executable, `lib/libpyproc.so` with `include/pyproc.h` for C hosts. Objects are compiled once
by `tools/cbuild.py` and shared. Environment: PYPROC_ABI3=1 makes one cp311-abi3 wheel,
PYPROC_WERROR=1 turns warnings into errors, PYPROC_SANITIZE is for tests only.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))

import cbuild  # noqa: E402  (found only through the line above: PEP 517 hides this folder)

ABI3 = os.environ.get("PYPROC_ABI3") == "1"
LIMITED_API = "-DPy_LIMITED_API=0x030b0000"

CORE = "pyproc._core"
WORKER = "pyproc._worker"
KEEPER = "pyproc.pyproc-keeper"
LIBRARY = "pyproc.lib.libpyproc"
HEADER = "pyproc.include.pyproc"
NAMED_HEADER = "pyproc.include.pyproc_named"

FILE_NAMES = {
    CORE: "_core.abi3.so" if ABI3 else f"_core{sysconfig.get_config_var('EXT_SUFFIX')}",
    WORKER: "_worker.abi3.so",
    KEEPER: "pyproc-keeper",
    LIBRARY: "libpyproc.so",
    HEADER: "pyproc.h",
    NAMED_HEADER: "pyproc_named.h",
}


def refuse_to_start() -> None:
    """Stops with one sentence when this system cannot build pyproc."""
    if not sys.platform.startswith("linux"):
        raise SystemExit(
            f"pyproc runs on Linux only (it needs pidfd, memfd and Linux's own isolation), "
            f"and this is {sys.platform}."
        )
    missing = cbuild.missing_packages()
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing[f"Python.h of Python {sysconfig.get_python_version()}"] = "python3-dev"
    if missing:
        raise SystemExit(
            f"pyproc cannot be built because {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: install with "
            f"`apt-get install {' '.join(missing.values())}`."
        )


def _flags() -> list[str]:
    werror = os.environ.get("PYPROC_WERROR") == "1"
    return cbuild.flags_for(cbuild.sanitizers(), werror=werror)


def _link_flags() -> list[str]:
    return cbuild.link_flags_for(cbuild.sanitizers())


class BuildBinaries(build_ext):
    """setuptools' `build_ext` with our own compiling; it still decides where files go."""

    builder: cbuild.Builder

    def get_ext_filename(self, fullname: str) -> str:
        """The file of an extension, below its package when `fullname` names one."""
        package, _, _ = fullname.rpartition(".")
        for name, file_name in FILE_NAMES.items():
            if fullname in (name, name.rpartition(".")[2]):
                return str(Path(*package.split("."), file_name)) if package else file_name
        raise LookupError(f"{fullname} is none of this package's binaries")

    def copy_extensions_to_source(self) -> None:
        """Puts into the source tree only what changed: a running program keeps its file."""
        for name in FILE_NAMES:
            made = Path(self.build_lib, self.get_ext_filename(name))
            place = HERE / self.get_ext_filename(name)
            if place.exists() and place.stat().st_mtime_ns == made.stat().st_mtime_ns:
                continue
            with cbuild.placed(place) as scratch:
                shutil.copy2(made, scratch)

    def build_extensions(self) -> None:
        """Builds all five, and says at the end what failed; setuptools calls it."""
        refuse_to_start()
        self._drop_stale()
        self.builder = cbuild.Builder(self._object_folder())
        failures = []
        for build in (self._core, self._worker, self._keeper, self._library, self._header):
            try:
                build()
            except (cbuild.BuildError, OSError) as error:
                failures.append(str(error))
        if failures:
            raise SystemExit("\n\n".join(["pyproc cannot be built:", *failures]))

    def _core(self) -> None:
        objects = [*self._rooms(*cbuild.CORE_ROOMS), *self._binding(worker=False, limited=ABI3)]
        self._module(CORE, objects, [*cbuild.pkg_config("--libs", *cbuild.LIBRARIES), "-pthread"])

    def _worker(self) -> None:
        ours = [self.builder.generate(), *cbuild.worker_sources()]
        objects = [
            *self.builder.objects(ours, _flags()),
            *self._binding(worker=True, limited=True),
        ]
        self._module(WORKER, objects, cbuild.pkg_config("--libs", "libprotobuf-c"))

    def _keeper(self) -> None:
        objects = self.builder.objects(cbuild.keeper_sources(), _flags())
        self.builder.link(self._target(KEEPER), objects, ["-pie", *_link_flags()])

    def _library(self) -> None:
        only_ours = self.builder.export_only("libpyproc", "pyproc_*")
        flags = ["-shared", "-Wl,-soname,libpyproc.so", only_ours, *_link_flags()]
        flags += [*cbuild.pkg_config("--libs", *cbuild.LIBRARIES), "-pthread"]
        self.builder.link(self._target(LIBRARY), self._rooms(*cbuild.CORE_ROOMS), flags)

    def _header(self) -> None:
        for name in (HEADER, NAMED_HEADER):
            source = cbuild.CSRC / "include" / FILE_NAMES[name]
            target = self._target(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                shutil.copyfile(source, target)

    def _rooms(self, *rooms: str) -> list[Path]:
        """The objects of these rooms and of the messages, in the order of the rooms."""
        return self.builder.objects(
            [self.builder.generate(), *cbuild.room_sources(*rooms)], _flags()
        )

    def _binding(self, *, worker: bool, limited: bool) -> list[Path]:
        """The binding's objects for one side; `plain*.c` serve both."""
        sources = [
            path
            for path in cbuild.room_sources("binding")
            if path.name.startswith("plain") or path.name.startswith("worker_") == worker
        ]
        paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
        python = [f"-isystem{path}" for path in sorted(paths)]
        return self.builder.objects(
            sources, [*_flags(), *python, *([LIMITED_API] if limited else [])]
        )

    def _module(self, name: str, objects: Sequence[Path], libraries: Sequence[str]) -> None:
        base = name.rpartition(".")[2]
        only_init = self.builder.export_only(base, f"PyInit_{base}")
        flags = ["-shared", only_init, *_link_flags(), *libraries]
        self.builder.link(self._target(name), objects, flags)

    def _target(self, name: str) -> Path:
        return Path(self.get_ext_fullpath(name)).resolve()

    def _drop_stale(self) -> None:
        """A wheel takes all of build_lib: a `_core` left by another kind of build must go."""
        target = self._target(CORE)
        for path in target.parent.glob("_core.*.so"):
            if path != target and not self.inplace:
                path.unlink()

    def _object_folder(self) -> Path:
        """Kept in the checkout, so that a rebuild is quick; setuptools' own when that is closed."""
        folder = HERE / "build" / "c"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK)
        except OSError:
            usable = False
        return folder if usable else Path(self.build_temp).resolve()


setup(
    ext_modules=[Extension(name, sources=[], py_limited_api=name == WORKER) for name in FILE_NAMES],
    cmdclass={"build_ext": BuildBinaries},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
