"""Tests with pyproc's pytest plugin: `python -m pytest examples/test_with_pytest.py`.

A test that may crash the interpreter runs in a worker; faults are made on purpose.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

import pyproc


def half(n: int) -> float:
    """What is tested."""
    return n / 2


@pytest.mark.isolated(timeout=60)
def test_in_a_process_of_its_own() -> None:
    """The whole test, fixtures too, runs in a worker."""
    assert half(5) == 2.5


def test_a_program_survives_a_crash(pyproc_pool_factory: Any, pyproc_faults: Any) -> None:
    """The second call of the function ends its worker."""
    pyproc_faults.crash("half", call=2)
    pool = pyproc_pool_factory([half], workers=1)
    assert pool.call("half", 4) == 2.0
    with pytest.raises(pyproc.WorkerDied):
        pool.call("half", 4)
    assert pool.call("half", 4) == 2.0


def test_workers_are_other_processes(pyproc_pool_factory: Any) -> None:
    """Opened and closed by the fixture."""
    assert pyproc_pool_factory([os.getpid], workers=1).call("getpid") != os.getpid()
