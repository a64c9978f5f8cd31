"""The floor: `floor.c`, compiled when first needed. No pool over a socket can be faster."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.contenders.base import Contender
from benchmarks.work import WIRE_SIZE

SOURCE = Path(__file__).resolve().parent.parent / "floor.c"


def compiler() -> str | None:
    """The C compiler: $CC, or cc."""
    return shutil.which(os.environ.get("CC", "cc"))


def build(folder: Path) -> Path:
    """Compiles floor.c into `folder`. Raises RuntimeError with the compiler's words."""
    cc = compiler()
    if cc is None:
        raise RuntimeError("no C compiler (Debian: apt install gcc)")
    program = folder / "floor"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"]
    command = [cc, *flags, "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"floor.c does not compile:\n{done.stderr}")
    return program


def round_trips(program: Path, calls: int, warm: int, size: int = WIRE_SIZE) -> list[float]:
    """Seconds of each round trip."""
    command = [str(program), str(calls), str(warm), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"floor ended with {done.returncode}")
    return [int(line) * 1e-9 for line in done.stdout.split()]


class Floor(Contender):
    name = "C socket"
    offers = frozenset({"latency"})

    def missing(self) -> str | None:
        return None if compiler() else "no C compiler"

    def version(self) -> str:
        return f"AF_UNIX stream pair, {WIRE_SIZE} bytes each way, -O2"

    def latencies(self, seconds: float, calls: int, warm: int) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            return round_trips(build(Path(folder)), calls, warm)
