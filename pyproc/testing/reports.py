"""Reports of isolated items on the host: made from a worker's data, or in its place when it died.

The data is a worker's word: it is checked for its form, and only ever shown. Nothing of it is
unpickled, imported or evaluated.
"""

from __future__ import annotations

import builtins
import json
import os
import time
import warnings
from collections.abc import Mapping
from math import isfinite
from typing import Any

import pytest
from _pytest._code.code import (
    ExceptionChainRepr,
    ReprEntryNative,
    ReprFileLocation,
    ReprTraceback,
)

from pyproc import errors
from pyproc.testing.capture import JOURNAL, STREAMS

PHASES = ("setup", "call", "teardown")
_OUTCOMES = ("passed", "failed", "skipped")
_JOURNAL_MAX = 64 * 2**20
_TAIL_BYTES = 2**20
_TAIL_LINES = 30
#: Frames of these are not the test's.
_INNER = ("/_pytest/", "/pluggy/", "/pyproc/worker/", "/pyproc/testing/", "/pytest/__")


class BadReport(Exception):
    """What a worker sent is no report."""


def rebuild(item: pytest.Item, data: object) -> pytest.TestReport:
    """The report that a worker's data stands for. Raises BadReport."""
    if not isinstance(data, dict) or data.get("$report_type") != "TestReport":
        raise BadReport("a report is a dictionary with a '$report_type' of 'TestReport'")
    hook = item.config.hook.pytest_report_from_serializable
    try:
        report = hook(config=item.config, data=_checked(item, data))
        if not isinstance(report, pytest.TestReport):
            raise BadReport("no plugin knows this report")
        str(report.longreprtext)  # what cannot be shown is found here, not at the run's end
    except BadReport:
        raise
    except Exception as error:  # what is inside may have any form
        raise BadReport(f"a report could not be read: {error!r}") from None
    return report


def _checked(item: pytest.Item, data: dict[str, Any]) -> dict[str, Any]:
    """The data with the types that pytest and plugins rely on, and the host's own names."""
    if data.get("when") not in PHASES or data.get("outcome") not in _OUTCOMES:
        raise BadReport(f"a report says {data.get('when')!r} and {data.get('outcome')!r}")
    longrepr = data.get("longrepr")
    if isinstance(longrepr, list):
        if len(longrepr) != 3 or not isinstance(longrepr[1], int | None):
            raise BadReport("a report's 'longrepr' is not path, line and reason")
        longrepr = (str(longrepr[0]), longrepr[1], str(longrepr[2]))
    elif not isinstance(longrepr, str | dict | None):
        raise BadReport(f"a report's 'longrepr' is a {type(longrepr).__name__}")
    times = {name: data.get(name, 0.0) for name in ("duration", "start", "stop")}
    if not all(type(value) in (int, float) and isfinite(value) for value in times.values()):
        raise BadReport("a report's times are no numbers")
    own = {
        "$report_type": "TestReport",
        "nodeid": item.nodeid,
        "location": item.location,
        "keywords": dict.fromkeys(item.keywords, 1),
        "outcome": data["outcome"],
        "when": data["when"],
        "longrepr": longrepr,
        "sections": [(str(name), str(text)) for name, text in _pairs(data.get("sections"))],
        "user_properties": [(str(n), value) for n, value in _pairs(data.get("user_properties"))],
        **times,
    }
    more = {
        name: value
        for name, value in data.items()
        if name not in own and name.isidentifier() and not hasattr(pytest.TestReport, name)
    }
    if not isinstance(more.get("wasxfail", ""), str):
        raise BadReport("a report's 'wasxfail' is no text")
    return {**more, **own}


def _pairs(value: object) -> list[list[Any]]:
    if not isinstance(value, list):
        return []
    return [pair for pair in value if isinstance(pair, list) and len(pair) == 2]


def warn(item: pytest.Item, data: object) -> None:
    """Records a warning of the worker's as one of this session's."""
    if not isinstance(data, Mapping):
        return
    name = str(data.get("category"))
    category = getattr(pytest if data.get("module") == "pytest" else builtins, name, None)
    text = str(data.get("message"))
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category, text = UserWarning, f"{name}: {text}"
    lineno = data.get("lineno")
    message = warnings.WarningMessage(
        category(text), category, str(data.get("filename")), lineno if type(lineno) is int else 1
    )
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": message,
            "when": "runtest",
            "nodeid": item.nodeid,
            "location": None,
        }
    )


def failed(
    item: pytest.Item,
    when: str,
    text: str,
    *,
    seconds: float = 0.0,
    sections: list[tuple[str, str]] | None = None,
) -> pytest.TestReport:
    """A failure that this side tells; the first line of `text` is its summary."""
    file, line, _ = item.location
    place = ReprFileLocation(file, (line or 0) + 1, text.partition("\n")[0])
    lines = [f"{one}\n" for one in text.splitlines()]
    trace = ReprTraceback([ReprEntryNative(lines)], None, style="native")
    longrepr = ExceptionChainRepr([(trace, place, None)])
    return _report(item, when, "failed", longrepr, seconds, sections or [])


def passed(item: pytest.Item, when: str) -> pytest.TestReport:
    """A phase of which nothing else is known."""
    return _report(item, when, "passed", None, 0.0, [])


def _report(
    item: pytest.Item,
    when: Any,
    outcome: Any,
    longrepr: Any,
    seconds: float,
    sections: list[tuple[str, str]],
) -> pytest.TestReport:
    now = time.time()
    return pytest.TestReport(
        item.nodeid,
        item.location,
        dict.fromkeys(item.keywords, 1),
        outcome,
        longrepr,
        when,
        sections,
        seconds,
        now - seconds,
        now,
        list(item.user_properties),
    )


def of_death(
    item: pytest.Item,
    error: BaseException,
    directory: str,
    *,
    seconds: float,
    timeout: object = None,
    hint: str = "",
) -> list[pytest.TestReport]:
    """The reports of an item whose worker ended: those it had made, the failure, and an end."""
    reports = []
    for data in _journal(directory):
        try:
            reports.append(rebuild(item, data))
        except BadReport:
            break
    seen = [report.when for report in reports]
    when = next((phase for phase in PHASES if phase not in seen), "teardown")
    outputs = {name: _output(directory, name) for name in STREAMS.values()}
    sections = [(f"Captured {name} {when}", text) for name, text in outputs.items() if text]
    text = _explain(error, when, outputs["stderr"], hint, timeout)
    reports.append(failed(item, when, text, seconds=seconds, sections=sections))
    if when != "teardown":  # plugins close an item at its last phase
        reports.append(passed(item, "teardown"))
    return reports


def _explain(error: BaseException, when: str, stderr: str, hint: str, timeout: object) -> str:
    parts = [f"{type(error).__name__}: {_headline(error, when, timeout)}", *hint.splitlines()]
    stack = getattr(error, "python_stack", None)
    missing = getattr(error, "python_stack_missing", None)
    if isinstance(stack, str) and stack.strip():
        parts += ["", "Its Python stack:", *_frames(stack)]
    elif missing:
        parts += ["", f"No Python stack: {missing}"]
    tail = stderr or getattr(error, "stderr_tail", None) or ""
    lines = tail.strip("\n").splitlines()[-_TAIL_LINES:]
    if any(lines):
        parts += ["", "The last that it wrote to stderr:", *(f"  {line}" for line in lines)]
    return "\n".join(parts)


def _headline(error: BaseException, when: str, timeout: object) -> str:
    from pyproc import _ends

    facts: Any = error
    where = "" if when == "call" else f" in {when}"
    if isinstance(error, errors.TaskTimeout):
        return f"the test ran longer than its timeout of {timeout} s{where}"
    if isinstance(error, errors.MemoryLimitExceeded):
        limit = f" of {facts.limit / 2**20:.0f} MiB" if facts.limit else ""
        return f"the test wanted more than its memory{limit}{where}"
    if isinstance(error, errors.WorkerCrashed):
        name = _ends._signal_name(facts.signal)
        return f"the test's worker crashed with {name}{where}"
    if isinstance(error, errors.WorkerExited):
        return (
            f"the test's worker left with exit code {facts.exit_code}{where}: "
            "os._exit, or a C library's exit"
        )
    if isinstance(error, errors.WorkerStartError):
        return f"the worker's pytest session could not be started: {error}"
    return f"{str(error).partition(chr(10))[0]}{where}"


def _frames(stack: str) -> list[str]:
    """The stack without pytest's and our own frames."""
    kept, left_out = [], 0
    for line in stack.strip("\n").splitlines():
        if any(part in line for part in _INNER):
            left_out += 1
        else:
            kept.append(f"  {line}")
    return [*kept, f"  ({left_out} frames of pytest and pyproc left out)"] if left_out else kept


def _journal(directory: str) -> list[object]:
    found = []
    try:
        with open(os.path.join(directory, JOURNAL), "rb") as file:
            text = file.read(_JOURNAL_MAX)
        for line in text.split(b"\n")[:-1]:  # the last one may be cut
            found.append(json.loads(line))
    except (OSError, ValueError, RecursionError):
        pass
    return found


def _output(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
