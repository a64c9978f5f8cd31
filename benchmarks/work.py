"""What is called: the functions that every contender runs in its workers.

Nothing of pyproc is imported here, so that a peer's workers hold only what that peer needs.
`apps/calls.py` exposes the same functions to pyproc.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

# The small dict of the latency figures: about 100 bytes on a wire, as in `floor.c`.
SMALL: dict[str, Any] = {
    "id": 184467,
    "name": "invoices/2024-03/0017.pdf",
    "page": 3,
    "score": 0.875,
    "tags": ["paid", "scanned"],
    "ok": True,
    "next": None,
}
WIRE_SIZE = 100  # bytes, of the floor's request and of its answer


def echo(value: dict[str, Any]) -> dict[str, Any]:
    """Gives back what it was given."""
    return value


def nothing() -> None:
    """Does nothing: what is left is the price of asking."""


def same(item: int) -> int:
    """The cheapest item of a map."""
    return item


def burn_short(item: int) -> int:
    """About 0.1 ms of pure Python: a fixed amount of work, not of time."""
    return _burn(item, 1_500)


def burn_long(item: int) -> int:
    """About 1 ms of pure Python."""
    return _burn(item, 15_000)


def _burn(item: int, turns: int) -> int:
    total = item
    for turn in range(turns):
        total = (total * 31 + turn) & 0xFFFF
    return total


def spin(seconds: float) -> None:
    """Keeps its CPU and the interpreter lock busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def sleep(seconds: float) -> None:
    """Waits in the kernel."""
    time.sleep(seconds)


def import_app(module: str) -> bool:
    """Imports an app: the first answer of a peer that has no notion of apps."""
    importlib.import_module(module)
    return True
