"""What waiting costs the host."""

from __future__ import annotations

import time
from pathlib import Path

import pyproc

APP = """
import time
import pyproc
@pyproc.expose
def sleep(seconds: float) -> None: time.sleep(seconds)
"""


def test_a_leased_call_that_waits_takes_no_processor_time(tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(APP)
    with pyproc.Pool(tmp_path / "sleepy.py", workers=1) as pool:
        pool.call("sleep", 0)
        before = time.thread_time()
        pool.call("sleep", 2)
        assert time.thread_time() - before < 0.2
