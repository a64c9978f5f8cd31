"""Queued calls: what submit promises."""

from __future__ import annotations

from pathlib import Path

import pytest

import pyproc

APP = """
import pyproc
@pyproc.expose
def spin() -> None:
    while True:
        pass
"""


def test_the_error_of_a_queued_call_names_its_function(tmp_path: Path) -> None:
    (tmp_path / "spinning.py").write_text(APP)
    with (
        pyproc.Pool(tmp_path / "spinning.py", workers=1) as pool,
        pytest.raises(pyproc.TaskTimeout) as caught,
    ):
        pool.options(timeout=0.2).submit("spin").result(60)
    assert caught.value.function == "spin"
