"""An application for the operations' tests, importable as `served`."""

from __future__ import annotations

from pathlib import Path

import pytest

APP = """
import os, time
import pyproc

app = pyproc.App()

@app.expose
def double(n: int) -> int:
    return 2 * n

@app.expose
def die(n: int = 0, *, why: str = "") -> None:
    os.abort()

@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@app.expose
def fail(text: str) -> None:
    raise ValueError(text)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target of a pool; the working directory is a scratch one."""
    (tmp_path / "served.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "served.py")
