"""CPython's own tests of process executors pass with results="pickle".

They are the interpreter's, where it has them, or those of Debian's libpython3.11-testsuite in the
directory that PYPROC_CPYTHON_TESTS names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("standard.py")
DIRECTORY = os.environ.get("PYPROC_CPYTHON_TESTS")


def _has_tests() -> bool:
    try:
        return importlib.util.find_spec("test.test_concurrent_futures") is not None
    except ImportError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    DIRECTORY is None and not _has_tests(),
    reason="this interpreter has no test.test_concurrent_futures: name a directory that has it in "
    "PYPROC_CPYTHON_TESTS",
)
def test_every_test_of_the_standard_library_passes_but_those_of_its_insides() -> None:
    more = ["--tests", DIRECTORY] if DIRECTORY else []
    done = subprocess.run(
        [sys.executable, str(RUNNER), *more],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    report = json.loads(done.stdout[done.stdout.index('{"python"') :])
    assert report["failed"] == {}
    assert done.returncode == 0
    assert report["passed"] >= 45
