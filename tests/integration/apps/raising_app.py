"""Functions that fail in every way an exception can."""

from __future__ import annotations

import os
import sys

import pyproc

app = pyproc.App()


class Own(Exception):
    """A class that the host does not have."""


class OddInit(Exception):
    def __init__(self, one, two, *, three):
        super().__init__(one)
        self.two = two


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Base(BaseException):
    """Not an Exception."""


def builtin(name: str) -> BaseException:
    made = {
        "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
        "OSError": lambda: FileNotFoundError(2, "not there", "/no/such"),
        "KeyError": lambda: KeyError("key"),
        "StopIteration": lambda: StopIteration(5),
        "StopAsyncIteration": lambda: StopAsyncIteration(5),
        "SystemExit": lambda: SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "Own": lambda: Own("mine", 5),
        "OddInit": lambda: OddInit(1, 2, three=3),
        "Unprintable": Unprintable,
        "Base": lambda: Base("base"),
        "unencodable": lambda: ValueError(object(), "text"),
        "huge": lambda: ValueError("x" * 50_000_000),
        "MemoryError": MemoryError,
        "group": lambda: ExceptionGroup(
            "two", [ValueError(1), ExceptionGroup("in", [KeyError("k"), Own("o")])]
        ),
    }
    return made[name]() if name in made else getattr(__builtins__, name, ValueError)(name)


@app.expose
def fail(name: str) -> None:
    raise {"ValueError": ValueError("ValueError"), "TypeError": TypeError("TypeError")}.get(
        name
    ) or builtin(name)


@app.expose
def chained(suppress: bool) -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise Own("second") from error
    except Own:
        if suppress:
            raise ValueError("third") from None
        raise ValueError("third")  # noqa: B904


@app.expose
def noted() -> None:
    error = ValueError("noted")
    error.add_note("look here")
    error.add_note("and there")
    raise error


@app.expose
def endless(n: int = 0) -> None:
    endless(n + 1)


@app.expose
def leave() -> None:
    sys.exit("bye")


@app.expose
def pid() -> int:
    return os.getpid()
