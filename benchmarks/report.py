"""Turns results into tables: plain for a terminal, Markdown for README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measurements import MEASUREMENTS, Measurement
from benchmarks.model import Key, Settings
from benchmarks.stats import Results
from benchmarks.targets import US, Verdict

NONE = "-"


@dataclass(frozen=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results, verdicts: Sequence[Verdict], settings: Settings) -> list[Table]:
    """The targets of what was measured, then one table a measurement that has figures."""
    measured = {reading.cell.measurement for reading in results.readings}
    found = [
        _targets_table([one for one in verdicts if one.target.measured.measurement in measured])
    ]
    for measurement in MEASUREMENTS.values():
        table = _measurement_table(measurement, results, settings)
        if table.rows:
            found.append(table)
    return found


def _targets_table(verdicts: Sequence[Verdict]) -> Table:
    words = {True: "reached", False: "NOT reached", None: "not measured"}
    rows = []
    for verdict in verdicts:
        target = verdict.target
        sign = ">=" if target.at_least else "<="
        value = NONE if verdict.value is None else f"{verdict.value:.2f}{target.unit}"
        limit = f"{sign} {target.limit:g}{target.unit}"
        rows.append((target.text, value, limit, words[verdict.reached]))
    return Table("Figures to reach", ("figure", "measured", "target", ""), rows)


def _measurement_table(measurement: Measurement, results: Results, settings: Settings) -> Table:
    columns = measurement.columns
    rows = []
    for variant in measurement.variants(settings):
        for contender in _contenders(results, measurement.name, variant):
            keys = [Key(measurement.name, variant, contender, one.figure) for one in columns]
            cells = [
                _number(results.median(key), column.scale, column.digits)
                for key, column in zip(keys, columns, strict=True)
            ]
            ours = Key(measurement.name, variant, US, columns[0].figure)
            ratio = _number(results.ratio(keys[0], ours), 1.0, 2)
            rows.append((variant, contender, *cells, ratio))
    head = ("", "", *(column.heading for column in columns), f"/ {US}")
    return Table(measurement.title, head, rows)


def _contenders(results: Results, measurement: str, variant: str) -> list[str]:
    """Those with readings, in the order of their first reading of round 0."""
    names = (
        reading.cell.contender
        for reading in results.readings
        if (reading.cell.measurement, reading.cell.variant) == (measurement, variant)
    )
    return list(dict.fromkeys(names))


def _number(value: float | None, scale: float, digits: int) -> str:
    return NONE if value is None else f"{value * scale:.{digits}f}"


def plain(facts: Mapping[str, str], found: Sequence[Table]) -> str:
    """For a terminal."""
    width = max(map(len, facts))
    parts = ["\n".join(f"{name:{width}}  {fact}" for name, fact in facts.items())]
    parts += [f"{table.title}\n\n{_aligned(table)}" for table in found]
    return "\n\n".join(parts)


def _aligned(table: Table) -> str:
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    left = _text_columns(table)
    text = []
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(("  " + "  ".join(cells)).rstrip())
        if number == 0:
            text.append("  " + "  ".join("-" * width for width in widths))
    return "\n".join(text)


def markdown(facts: Mapping[str, str], command: str, found: Sequence[Table]) -> str:
    """For README.md: what it was measured on and with, then the tables."""
    parts = ["\n".join(f"- {name}: {fact}" for name, fact in facts.items())]
    parts[0] += f"\n- command: `{command}`"
    for table in found:
        left = _text_columns(table)
        rule = [":--" if i in left else "--:" for i in range(len(table.head))]
        lines = ["| " + " | ".join(line) + " |" for line in (table.head, rule, *table.rows)]
        parts.append(f"### {table.title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _text_columns(table: Table) -> set[int]:
    """Those that hold words: to the left; numbers go to the right."""
    return {i for i, heading in enumerate(table.head) if heading in {"", "figure", "target"}}
