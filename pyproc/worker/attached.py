"""Files that came with a call: opened from their descriptors, closed after it."""

from __future__ import annotations

import io
import os
import sys

from pyproc import _large
from pyproc._extension import FILE, LARGE, restore
from pyproc._worker import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MODES = ("rb", "r+b", "wb", "ab")


class Files:
    """Of one call."""

    def __init__(self, fds: tuple[int, ...]) -> None:
        self._fds: list[int | None] = list(fds)
        self._opened: list[Any] = []
        self._maps: dict[int, memoryview] = {}

    def restore(self, code: int, data: bytes) -> Any:
        """The value of an extension, which may be one of the files."""
        if code == LARGE:
            return self._restore_large(data)
        if code != FILE:
            return restore(code, data)
        number, mode = data[0], _MODES[data[1]]
        fd, self._fds[number] = self._fds[number], None
        if fd is None:
            raise ValueError("a file comes twice")
        try:
            file = open(fd, mode)  # noqa: SIM115
        except BaseException:
            os.close(fd)
            raise
        self._opened.append(file)
        return file

    def _restore_large(self, data: bytes) -> Any:
        number = data[1]
        if number not in self._maps:
            fd, self._fds[number] = self._fds[number], None
            if fd is None:
                raise ValueError("a file and a value in memory have one number")
            try:
                self._maps[number] = memoryview(Map(fd))
            finally:
                os.close(fd)
        return _large.restore(data, _Numbered(self._maps))

    def close(self) -> None:
        """Closes them all; raises what the last write of one says."""
        error: BaseException | None = None
        for fd in self._fds:
            if fd is not None:
                os.close(fd)
        for file in self._opened:
            try:
                file.close()
            except Exception as raised:
                error = error or raised
        self._fds, self._opened, self._maps = [], [], {}
        if error is not None:
            raise error


class _Numbered:
    """Mapped memory by number, as far as it is there."""

    def __init__(self, maps: dict[int, memoryview]) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return max(self._maps) + 1

    def __getitem__(self, number: int) -> memoryview:
        return self._maps[number]


class OrFile:
    """An annotation of a file or something else, which msgspec cannot check by itself."""

    def __init__(self, rest: Any) -> None:
        self.rest = rest

    def __repr__(self) -> str:
        return f"BinaryIO | {self.rest}"


def is_file(value: object) -> bool:
    """Whether the value is a file of a call."""
    return isinstance(value, io.IOBase)


def checkable(hint: Any) -> Any:
    """The annotation with each name for a binary file as what such files are: io.IOBase."""
    found = _replace(hint)
    return hint if found is None else found


def _names_file(hint: Any) -> bool:
    typing: Any = sys.modules.get("typing")
    files: Any = sys.modules.get("pyproc.files")
    if files is not None and hint is files.File:
        return True
    if typing is None:
        return False
    return hint in (typing.BinaryIO, typing.IO, typing.IO[bytes], typing.IO[typing.Any])


def _is_union(hint: Any) -> bool:
    typing: Any = sys.modules.get("typing")
    kinds: tuple[Any, ...] = (type(int | str),)
    return isinstance(hint, kinds) or (
        typing is not None and getattr(hint, "__origin__", None) is typing.Union
    )


def _replace(hint: Any) -> Any:
    """None: there is no file in it."""
    try:
        if _names_file(hint):
            return io.IOBase
    except Exception:  # an annotation may be any object at all
        return None
    if isinstance(hint, type) and issubclass(hint, io.IOBase):
        return hint
    parts = getattr(hint, "__args__", None)
    if not parts:
        return None
    made = [_replace(part) for part in parts]
    if all(part is None for part in made):
        return None
    whole = [part if new is None else new for part, new in zip(parts, made, strict=True)]
    if _is_union(hint):
        return _replace_union(whole)
    make: Callable[[Any], Any] = hint.copy_with if hasattr(hint, "copy_with") else _remake(hint)
    return make(tuple(whole))


def _replace_union(parts: list[Any]) -> Any:
    import typing

    files = [part for part in parts if isinstance(part, type) and issubclass(part, io.IOBase)]
    rest = [part for part in parts if part not in files]
    if len(files) > 1:
        files = [io.IOBase]
    if rest == [type(None)] or not files:
        return typing.Union[tuple(files + rest)]  # noqa: UP007
    return OrFile(typing.Union[tuple(rest)])  # noqa: UP007


def _remake(hint: Any) -> Callable[[Any], Any]:
    def make(parts: tuple[Any, ...]) -> Any:
        return hint.__origin__[parts]

    return make
