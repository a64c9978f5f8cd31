"""A worker that ends after the last item of its chunk, before it has said so, costs nothing."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

import pytest

from pyproc import Pool, Retry

APP = """
import os, signal, sys
from contextvars import ContextVar
from pyproc import App

app = App()
user = ContextVar("user")

def end(frame, event, argument):
    if event == "call":
        os.kill(os.getpid(), signal.SIGKILL)

@app.expose
def answer(n: int) -> int:
    if n < 0:  # the next Python function that is called sets the context back: after the chunk
        sys.setprofile(end)
    return n
"""


@pytest.mark.parametrize("retries", [1, 3])
def test_a_worker_that_ends_after_its_chunks_last_item_costs_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    (tmp_path / "lastwords.py").write_text(APP)
    twin = ModuleType("lastwords")
    user: ContextVar[str] = ContextVar("user")
    vars(twin)["user"] = user
    monkeypatch.setitem(sys.modules, "lastwords", twin)
    user.set("me")
    with Pool(
        tmp_path / "lastwords.py", workers=1, context=[user], path=[str(tmp_path)], sandbox="none"
    ) as pool:
        calls = pool.options(retry=Retry(max_attempts=retries))
        assert list(calls.map("answer", [1, 2, -3, 4, 5], chunksize=3)) == [1, 2, -3, 4, 5]
        assert pool.stats()["workers_died"] == 1
