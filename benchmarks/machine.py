"""What a figure was measured on. No host name, no paths: the record may be published."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.model import usable_cpus


def describe(contenders: Mapping[str, Contender]) -> dict[str, str]:
    """Facts by name, in the order in which they are shown."""
    load = os.getloadavg()[0]
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{_cpu_model()}, {usable_cpus()} usable of {os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": _compiler(),
        "load at the start": f"{load:.2f}",
    }
    facts |= {name: one.version() for name, one in contenders.items() if not one.missing()}
    return facts


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def _compiler() -> str:
    cc = shutil.which(os.environ.get("CC", "cc"))
    if cc is None:
        return "none"
    done = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
