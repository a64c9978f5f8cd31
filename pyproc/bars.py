"""Progress: what a call says of itself, and the bar of a map.

tqdm and rich are imported only when asked for. A bar is quiet when stderr is no terminal; a
function is always called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Progress(NamedTuple):
    """How far a call is: what its function gave to `pyproc.progress` last."""

    done: float
    total: float | None
    #: Text of the worker's, at most 4096 bytes.
    message: str


def received(item: tuple[Any, ...]) -> Progress:
    """Of an item of the core's queue; whole numbers as int."""
    _, _, done, total, message = item
    return Progress(_number(done), None if total is None else _number(total), message)


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value


def reporter(
    progress: Callable[[int, int | None], object] | bool | str | None, total: int | None
) -> tuple[Callable[[int, int | None], object] | None, Callable[[], None]]:
    """What to tell (done, total), or None, and what to call at the end."""
    if progress is None or progress is False:
        return None, lambda: None
    if callable(progress):
        return progress, lambda: None
    if progress == "rich":
        return _rich(total)
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        raise _missing("tqdm", repr(progress)) from None
    line = tqdm(total=total, disable=None)
    return lambda done, _: line.update(done - line.n), line.close


def _rich(
    total: int | None,
) -> tuple[Callable[[int, int | None], object], Callable[[], None]]:
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:
        raise _missing("rich", "'rich'") from None
    console = Console(stderr=True)
    bar = Bar(console=console, disable=not (console.is_terminal or console.is_jupyter))
    task = bar.add_task("", total=total)
    bar.start()
    return lambda done, _: bar.update(task, completed=done), bar.stop


def _missing(package: str, asked: str) -> ImportError:
    return ImportError(
        f"map(progress={asked}) needs {package}: {sys.executable} -m pip install {package}, "
        f"or give a function that is called with (done, total)"
    )
