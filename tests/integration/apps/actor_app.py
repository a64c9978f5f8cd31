"""Classes for test_actors.py."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator

from pyproc import App

app = App()


class Base:
    def inherited(self) -> str:
        return type(self).__name__


@app.expose
class Session(Base):
    def __init__(self, user: str, *, log: str | None = None) -> None:
        if user == "nobody":
            raise LookupError("there is no such user")
        if user == "killer":
            os.abort()
        self.user = user
        self.seen: list[int] = []
        self._log = log
        self._note("made")

    def add(self, number: int) -> list[int]:
        self.seen.append(number)
        return self.seen

    def who(self) -> tuple[int, str]:
        return os.getpid(), self.user

    def fail(self) -> None:
        raise ValueError(self.user)

    def die(self) -> None:
        os.abort()

    def nap(self, seconds: float) -> None:
        time.sleep(seconds)

    async def later(self, number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    @staticmethod
    def helper() -> None: ...

    def _note(self, text: str) -> None:
        if self._log is not None:
            with pathlib.Path(self._log).open("a") as file:
                file.write(f"{self.user} {text}\n")

    def close(self) -> None:
        self._note("closed")


@app.expose(name="Lines")
class _Lines:
    def __init__(self, log: str) -> None:
        self.log = log

    def __enter__(self) -> None:
        pathlib.Path(self.log).write_text("entered ")

    def __exit__(self, *_: object) -> None:
        with pathlib.Path(self.log).open("a") as file:
            file.write("left")

    def number(self) -> int:
        return 1


@app.expose
@dataclasses.dataclass
class Point:
    x: int
    y: int = 2

    def total(self) -> int:
        return self.x + self.y


@app.expose
class Bare:
    def pid(self) -> int:
        return os.getpid()


@app.expose
def plain() -> int:
    return os.getpid()


@app.expose
def die() -> None:
    os.abort()
