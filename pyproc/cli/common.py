"""What all commands share: exit codes, tables, JSON, and errors as one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyproc import errors

if TYPE_CHECKING:
    from pyproc.control import ControlClient

DONE, NO, WRONG, UNREACHABLE, DENIED, ENDED, MISSING, BUG, INTERRUPTED = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    70,
    130,
)

F = TypeVar("F", bound=Callable[..., Any])


class Exit(Exception):
    """Ends the command with this code; what there is to say was said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stop(Exception):
    """Ends the command with a sentence."""

    def __init__(self, sentence: str, code: int = WRONG) -> None:
        super().__init__(sentence)
        self.code = code


def code_of(error: BaseException) -> int:
    """The exit code that an error stands for."""
    from pyproc.control import ControlError

    if isinstance(error, Stop):
        return error.code
    if isinstance(error, ControlError):
        return {"unreachable": UNREACHABLE, "denied": DENIED, "failed": NO}.get(error.code, WRONG)
    if isinstance(error, errors.AccessDenied | errors.AuthenticationError):
        return DENIED
    if isinstance(error, errors.ConfigError | errors.AuditError | errors.SandboxUnavailable):
        return WRONG
    if isinstance(error, errors.WorkerStartError):
        return WRONG
    if isinstance(error, errors.ValidationError | errors.UnknownFunction | errors.CodecError):
        return WRONG
    if isinstance(error, errors.RemoteError):
        return NO
    if isinstance(error, errors.Error):
        return ENDED
    return WRONG


def json_option(function: F) -> F:
    """`--json`: the result as one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def control_option(function: F) -> F:
    """`--control PATH`: whom to ask."""
    return click.option(
        "--control", metavar="PATH", envvar="PYPROC_CONTROL_PATH",
        help="The control socket of the pool or daemon [env: PYPROC_CONTROL_PATH].",
    )(function)  # fmt: skip


def emit(value: Any, as_json: bool, show: Callable[[], object] | None = None) -> None:
    """Prints the value as JSON, or what `show` prints."""
    if as_json or show is None:
        click.echo(json.dumps(value, indent=None if as_json else 2, default=str))
    else:
        show()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: rich on a terminal, plain columns elsewhere, so that `awk` is as happy."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for column in columns:
            shown.add_column(column, overflow="fold")
        for row in cells:
            shown.add_row(*(Text(cell) for cell in row))  # as it is: markup is not ours
        Console().print(shown)
        return
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def span(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 100:
        return f"{seconds:.1f}s"
    if seconds < 6000:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h"


@contextlib.contextmanager
def asking(control: str | None, timeout: float | None = 30.0) -> Iterator[ControlClient]:
    """A client of the control socket that was named."""
    from pyproc.control import ControlClient

    if not control:
        raise Stop("say which pool: --control PATH, or PYPROC_CONTROL_PATH in the environment")
    with ControlClient(os.fspath(control), timeout=3600.0 if timeout is None else timeout) as one:
        yield one


def value_of(text: str) -> Any:
    """An argument of a call: JSON where it is, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """NAME=VALUE options. Stop names a wrong one."""
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise Stop(f"{option} {one!r}: NAME=VALUE is needed")
        found[name] = value
    return found
