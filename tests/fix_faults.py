"""The shim that makes the n-th malloc, socketpair, fork and so on of a host or keeper fail."""

from __future__ import annotations

import platform
import subprocess
import sysconfig
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "fault" / "shim" / "faults.c"


@pytest.fixture(scope="session")
def fault_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built once a run, for LD_PRELOAD."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the shim takes the place of glibc's functions; this libc is another one")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    # Without builtins: the compiler must not turn our malloc into itself.
    flags = ["-std=c11", "-O1", "-g", "-fno-builtin", "-fPIC", "-shared", "-fvisibility=hidden"]
    flags += ["-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library
