"""A child that outlives its worker keeps the call's socket open, and yet nobody waits for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pyproc import Pool, WorkerKilled

APP = """
import os, pathlib, time
from pyproc import App
app = App()

@app.expose
def leave_a_child(path: str) -> None:
    child = os.fork()
    if child:
        pathlib.Path(path + ".new").write_text(str(child))
        os.rename(path + ".new", path)
    time.sleep(120)
"""


def test_a_call_ends_when_its_keeper_is_killed_and_a_child_of_the_worker_is_left(
    tmp_path: Path,
) -> None:
    (tmp_path / "leaving.py").write_text(APP)
    note = tmp_path / "child"
    with Pool(tmp_path / "leaving.py", workers=1, sandbox="none") as pool:
        stat = Path(f"/proc/{pool.workers()[0].pid}/stat").read_text()
        keeper = int(stat.rpartition(")")[2].split()[1])
        ends: list[BaseException] = []

        def call() -> None:
            with pytest.raises(WorkerKilled) as caught:
                pool.call("leave_a_child", str(note))
            ends.append(caught.value)

        thread = threading.Thread(target=call)
        thread.start()
        limit = time.monotonic() + 60
        while not note.exists() and time.monotonic() < limit:
            time.sleep(0.01)
        child = int(note.read_text())
        os.kill(keeper, signal.SIGKILL)
        thread.join(30)
        hung = thread.is_alive()
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the kernel took it along
        thread.join(60)
        assert not hung
        assert len(ends) == 1
