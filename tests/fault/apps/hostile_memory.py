"""Functions that lie about memory that the host grants them."""

from __future__ import annotations

import os
import sys
import time

import wire

sys.path.insert(0, os.path.dirname(__file__))
from breaking import CALL, _call_id, app

REQUEST = 16


def _ask(size: int, number: int = 1) -> None:
    os.write(CALL, wire.frame(REQUEST, {1: wire.Fixed(_call_id()), 2: size, 3: number}))


@app.expose
def flood(count: int) -> None:
    """Asks and asks, and takes nothing."""
    for number in range(1, count):
        _ask(4096, number)
    time.sleep(60)


@app.expose
def answer(extension: bytes, size: int) -> None:
    """Answers with an extension that names memory; with a size it asks for some, and leaves it."""
    if size:
        _ask(size)
    packed = b"\xc7" + bytes([len(extension), 29]) + extension
    payload = {1: wire.Fixed(_call_id()), 2: packed, 3: 2}
    os.write(CALL, wire.frame(wire.RESULT, payload))
    os._exit(0)  # what was answered before counts


@app.expose
def ask_for_another() -> None:
    """For a call that is not running."""
    os.write(CALL, wire.frame(REQUEST, {1: wire.Fixed(_call_id() + 1), 2: 4096, 3: 1}))
    time.sleep(60)
