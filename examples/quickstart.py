"""The shortest whole program: one file that is both the application and its host.

    python examples/quickstart.py

The workers import this file; the part below `if __name__` runs in the host only.
"""

from __future__ import annotations

import ctypes
import re

import pyproc

app = pyproc.App()


@app.expose
def search(pattern: str, text: str) -> list[str]:
    """All matches of somebody else's pattern, which may take for ever."""
    return re.findall(pattern, text)


@app.expose
def broken() -> None:
    """What a bug in a C library does."""
    ctypes.string_at(0)


def main() -> None:
    with pyproc.Pool(__file__, workers=2, timeouts=pyproc.Timeouts(task=1.0)) as pool:
        print(pool.call("search", r"\d+", "1 fish, 22 fish"))
        try:
            pool.call("search", r"(a+)+$", "a" * 40 + "!")
        except pyproc.TaskTimeout as error:
            print(f"TaskTimeout: {error.function} was stopped in its {error.stage} stage")
        try:
            pool.call("broken")
        except pyproc.WorkerCrashed as error:
            print(f"WorkerCrashed: signal {error.signal} in {error.function}")
        print(pool.call("search", r"\w+", "the pool goes on"))


if __name__ == "__main__":
    main()
