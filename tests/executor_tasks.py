"""Functions and classes that an Executor's tests name."""

from __future__ import annotations

import dataclasses
import enum
import os
import signal
import time
from typing import Any, NoReturn

import pyproc

STATE: list[object] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Colour(enum.Enum):
    RED = 1


class Odd(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value


class Unsendable:
    def __reduce__(self) -> NoReturn:
        raise TypeError("not this one")


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class Exploding:
    def __reduce__(self) -> Any:
        return divmod, (1, 0)


def double(value: int) -> int:
    return value * 2


def point(x: int) -> Point:
    return Point(x, 0)


def colours() -> list[Colour]:
    return [Colour.RED]


def lie() -> Point:
    return "no point"  # type: ignore[return-value]


def vague(x: int) -> object:
    return Point(x, 0)


def make(kind: str, *args: Any) -> object:
    return globals()[kind](*args)


def odd(code: int) -> NoReturn:
    raise Odd(code=code)


def die_at(value: int, at: int) -> int:
    if value == at:
        os.kill(os.getpid(), signal.SIGSEGV)
    return value


def remember(value: object) -> None:
    STATE.append(value)


def remembered() -> list[object]:
    return STATE


def fail() -> NoReturn:
    raise ValueError("no model here")


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def touch(path: str) -> None:
    with open(path, "w"):
        pass


def nested(value: int) -> int:
    with pyproc.Executor(1) as inner:
        return inner.submit(double, value).result()
