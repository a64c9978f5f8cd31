"""What a build says when this system cannot make pyproc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def refused(scratch: Path, **changes: str) -> str:
    """The last line of a build that must fail, under other environment variables."""
    environment = {**os.environ, "PKG_CONFIG_PATH": "", **changes}
    places = ["--build-temp", str(scratch / "temp"), "--build-lib", str(scratch / "lib")]
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", *places],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    return done.stderr.splitlines()[-1]


def test_a_build_without_the_libraries_names_their_packages_in_one_sentence(tmp_path: Path) -> None:
    assert refused(tmp_path, PKG_CONFIG_LIBDIR=str(tmp_path)) == (
        "pyproc cannot be built because libuv, libprotobuf-c, libseccomp are missing: install with "
        "`apt-get install libuv1-dev libprotobuf-c-dev libseccomp-dev`."
    )


def test_a_build_without_tools_names_their_packages(tmp_path: Path) -> None:
    line = refused(tmp_path, PATH=str(tmp_path), CC="gcc")
    packages = line.partition("apt-get install ")[2]
    assert packages.startswith("gcc pkg-config protobuf-c-compiler ")
