"""Exceptions that defend themselves against being read."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os

import pyproc


class Proxy:
    """As web frameworks make them: outside of a request, even isinstance raises."""

    @property
    def __class__(self):
        raise RuntimeError("outside of a request")


current = Proxy()
app = pyproc.App()


class StrExits(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class StrInterrupts(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class StrNeverEnds(Exception):
    def __str__(self):
        return str(self)


class StrIsNoText(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307


class ArgsRaise(Exception):
    @property
    def args(self):
        raise RuntimeError("no args")


class DictRaises(Exception):
    @property
    def __dict__(self):
        raise KeyboardInterrupt


class NothingReadable(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(f"never {name}")


class _NoModule(type):
    @property
    def __module__(cls):
        raise RuntimeError("no module")


class NameRaises(Exception, metaclass=_NoModule):
    pass


class OwnValueError(ValueError):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.one = one
        self.two = two


class _Exits:
    def __repr__(self):
        raise SystemExit(9)


def _chain(length):
    last = None
    for n in range(length):
        error = ValueError(n)
        error.__cause__ = last
        last = error
    return last


def _circle():
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def _deep_group(depth):
    group = ValueError("inside")
    for _ in range(depth):
        group = ExceptionGroup("around", [group])
    return group


def _noted(notes):
    error = ValueError("noted")
    error.__notes__ = notes
    return error


MAKERS = {
    "StrExits": StrExits,
    "StrInterrupts": StrInterrupts,
    "StrNeverEnds": StrNeverEnds,
    "StrIsNoText": StrIsNoText,
    "ArgsRaise": ArgsRaise,
    "DictRaises": DictRaises,
    "NothingReadable": NothingReadable,
    "NameRaises": NameRaises,
    "OwnValueError": lambda: OwnValueError("this", "that"),
    "argument exits": lambda: ValueError(_Exits()),
    "CancelledError": asyncio.CancelledError,
    "future cancelled": concurrent.futures.CancelledError,
    "JSONDecodeError": lambda: json.JSONDecodeError("bad", "text", 0),
    "PoolClosed": lambda: pyproc.PoolClosed("not really"),
    "TimeoutError": lambda: TimeoutError("mine"),
    "SyntaxError": lambda: SyntaxError("bad", ("f.py", 1, 2, "x = (", 1, 3)),
    "ImportError": lambda: ImportError("no such", name="thing", path="/place"),
    "two files": lambda: OSError(2, "gone", "one", None, "two"),
    "surrogate": lambda: ValueError("\ud800"),
    "zero byte": lambda: ValueError("a\0b"),
    "long chain": lambda: _chain(5000),
    "circle": _circle,
    "wide group": lambda: ExceptionGroup("wide", [ValueError(n) for n in range(20_000)]),
    "deep group": lambda: _deep_group(2000),
    "group of exits": lambda: BaseExceptionGroup("exits", [SystemExit(3), ValueError(2)]),
    "notes are a number": lambda: _noted(5),
    "notes of all kinds": lambda: _noted(["text", 5, b"b", "\ud800", "z" * 200_000]),
    "100000 arguments": lambda: ValueError(*range(100_000)),
}


@app.expose
def fail(name: str) -> None:
    raise MAKERS[name]()  # noqa: RSE102


@app.expose
def hide_what_was_before() -> None:
    try:
        raise KeyError("before")
    except KeyError:
        raise ValueError("after") from None


@app.expose
def get_proxy():
    return [current]


@app.expose
def pid() -> int:
    return os.getpid()
