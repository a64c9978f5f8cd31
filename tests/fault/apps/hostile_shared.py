"""A worker whose calls run side by side and that breaks the rules of their answers."""

from __future__ import annotations

import asyncio
import os

import wire
from breaking import CALL, app
from hostile import _send_all

import pyproc


def _result(number: int, **more: object) -> bytes:
    fields = {1: wire.Fixed(number), 2: b"\xc0", 3: 1, **{int(k[1:]): v for k, v in more.items()}}
    return wire.frame(wire.RESULT, fields)


def _frames(kind: str, number: int) -> bytes:
    makers = {
        "an answer twice": lambda: _result(number) * 2,
        "an answer to a call that was never made": lambda: _result(number + 1000),
        "an answer to a call of long ago": lambda: _result(1),
        "a chunk's part": lambda: wire.frame(wire.PART, {1: wire.Fixed(number), 3: 1, 4: b"\xc0"}),
        "an item of a stream": lambda: wire.frame(
            12, {1: wire.Fixed(number), 2: b"\xc0", 3: 1, 5: 1}
        ),
        "an end of a stream": lambda: wire.frame(13 + 1, {1: wire.Fixed(number), 2: 0}),
        "a call given back": lambda: wire.frame(7, {1: wire.Fixed(number)}),
        "a cancel from a worker": lambda: wire.frame(19, {1: wire.Fixed(number)}),
        "a pickled result": lambda: _result(number, f3=3),
    }
    return makers[kind]()


@app.expose
async def misbehave(kind: str) -> None:
    _send_all(CALL, _frames(kind, pyproc.current().call_id))
    await asyncio.sleep(600)


@app.expose
async def rest(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()
