"""What the demo shows: a row for each file, what is wrong with it, the summary.

Error messages and file names come from outside. Here they are shortened, freed
of control characters, and never read as markup.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from answers import Text, Thumbnail
from rich.table import Table
from rich.text import Text as Line

import pyproc

SLACK = 3.0  # seconds that a kill, a restart and a busy machine may add to the limit


@dataclass(frozen=True)
class Job:
    """One call: on a file, or without one."""

    name: str
    function: str
    path: Path | None
    expected: Mapping[str, object]  # from expected.json; empty: any answer will do


@dataclass(frozen=True)
class Row:
    """How a job ended: with a value or with an error."""

    job: Job
    seconds: float
    value: object = None
    error: BaseException | None = None


def clean(text: str, length: int = 90) -> str:
    """`text` on one line, without what a terminal would obey."""
    line = "".join(char if char.isprintable() else " " for char in text[: 4 * length])
    line = " ".join(line.split())
    return line if len(line) <= length else line[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def told(error: BaseException) -> str:
    """An error in one line: its type, and what it knows."""
    name = type(error).__name__
    if isinstance(error, pyproc.WorkerCrashed) and error.signal is not None:
        return f"{name}: {signal_name(error.signal)}, worker {error.pid}"
    return clean(f"{name}: {error}" if str(error) else name)


def problem(row: Row, timeout: float) -> str:
    """What is not as expected; empty when all is."""
    expected = row.job.expected
    if row.seconds > timeout + SLACK:
        return f"took {row.seconds:.1f} s, the limit is {timeout:g} s"
    if "fails" in expected:
        if row.error is None:
            return "was answered, should have failed"
        names = {kind.__name__ for kind in type(row.error).__mro__}
        wanted = expected["fails"]
        fits = isinstance(wanted, list) and not names.isdisjoint(wanted)
        return "" if fits else f"should have failed with {wanted}"
    if row.error is not None:
        return "failed"
    return wrong_answer(row.value, expected)


def wrong_answer(value: object, expected: Mapping[str, object]) -> str:
    """Holds an answer against the facts that are known of the file."""
    if isinstance(value, Text):
        if len(value.pages) != expected.get("pages", len(value.pages)):
            return f"has {expected['pages']} pages"
        if str(expected.get("phrase", "")) not in "\n".join(value.pages):
            return f"should contain {expected['phrase']!r}"
        return ""
    if isinstance(value, Thumbnail):
        if not value.png.startswith(b"\x89PNG"):
            return "is no PNG"
        found = {"kind": value.kind, "size": [value.width, value.height], "frames": value.frames}
        wrong = [f"{key} is {want}" for key, want in expected.items() if found.get(key) != want]
        return ", ".join(wrong)
    return f"answered a {type(value).__name__}"


def facts(row: Row) -> tuple[str, str, str]:
    """The columns kind, size and characters."""
    kind = "-" if row.job.path is None else row.job.path.suffix[1:].upper()
    if isinstance(row.value, Text):
        pages = len(row.value.pages)
        return kind, f"{pages} page{'s' * (pages != 1)}", f"{row.value.characters:,}"
    if isinstance(row.value, Thumbnail):
        frames = f", {row.value.frames} frames" if row.value.frames > 1 else ""
        return row.value.kind, f"{row.value.width} x {row.value.height}{frames}", ""
    return kind, "", ""


def outcome(row: Row, timeout: float) -> Line:
    """The last column: answered, failed as it should, or not as expected."""
    wrong = problem(row, timeout)
    if row.error is None:
        return Line(f"answered, but {wrong}" if wrong else "answered", "red" if wrong else "green")
    line = Line(f"failed: {told(row.error)}", "red" if wrong else "yellow")
    if wrong and row.job.expected:
        line.append(f" ({wrong})")
    return line


def table_of(rows: Sequence[Row], timeout: float) -> Table:
    table = Table(header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("pages or pixels", no_wrap=True)
    table.add_column("characters", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("outcome", overflow="fold", min_width=30)
    for row in rows:
        kind, size, characters = facts(row)
        shown = (clean(row.job.name), kind, size, characters, f"{row.seconds * 1000:,.0f}")
        table.add_row(*map(Line, shown), outcome(row, timeout))
    return table


def summary(
    rows: Sequence[Row], seconds: float, workers: int, timeout: float
) -> tuple[str, list[str]]:
    """The closing lines, and what was not as expected."""
    failed = [row for row in rows if row.error is not None]
    unexpected = [
        f"{clean(row.job.name)}: {wrong}" for row in rows if (wrong := problem(row, timeout))
    ]
    text = (
        f"{len(rows)} calls on {workers} workers in {seconds:.1f} s: {len(rows) - len(failed)} "
        f"answered, {len(failed)} failed, {len(unexpected)} not as expected."
    )
    return "\n".join([text, *(f"NOT AS EXPECTED  {line}" for line in unexpected)]), unexpected


def as_json(row: Row, timeout: float) -> dict[str, object]:
    """The row for results.json."""
    kind, size, characters = facts(row)
    return {
        "file": row.job.name,
        "function": row.job.function,
        "kind": kind,
        "size": size,
        "characters": int(characters.replace(",", "")) if characters else None,
        "ms": round(row.seconds * 1000),
        "error": None if row.error is None else told(row.error),
        "problem": problem(row, timeout) or None,
    }
