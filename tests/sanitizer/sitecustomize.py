"""Test-only: lets a sanitizer's runtime through the workers' scrubbed environment.

`conftest.py` runs this and puts its folder on PYTHONPATH when --sanitizer-runtime is given, so
that host programs which tests start hand the runtime on as well. Workers run isolated
(`python -I`) and never read it.
"""

from pyproc import config

config.ENVIRONMENT_ALLOWED = (
    *config.ENVIRONMENT_ALLOWED,
    "LD_PRELOAD",
    "ASAN_OPTIONS",
    "UBSAN_OPTIONS",
    "LSAN_OPTIONS",
)
