"""What a worker says of a test is data of a stranger: it is shown, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from pyproc.testing.plain import plain
from pyproc.testing.reports import BadReport, rebuild

GOOD: dict[str, Any] = {
    "$report_type": "TestReport",
    "nodeid": "somewhere::else",
    "location": ["/etc/passwd", 1, "x"],
    "keywords": {},
    "outcome": "failed",
    "longrepr": "it broke",
    "when": "call",
    "sections": [["Captured stdout call", "text"]],
    "duration": 0.5,
    "start": 1.0,
    "stop": 1.5,
    "user_properties": [["colour", "red"]],
}


def test_a_report_is_made_of_its_data(request: pytest.FixtureRequest) -> None:
    report = rebuild(request.node, GOOD)
    assert (report.outcome, report.when, report.longreprtext) == ("failed", "call", "it broke")
    assert report.sections == [("Captured stdout call", "text")]


def test_the_name_of_an_item_is_the_hosts(request: pytest.FixtureRequest) -> None:
    report = rebuild(request.node, GOOD)
    assert report.nodeid == request.node.nodeid
    assert report.location == request.node.location


def test_methods_of_a_report_cannot_be_replaced(request: pytest.FixtureRequest) -> None:
    report = rebuild(request.node, {**GOOD, "toterminal": "x", "head_line": "x", "extra": 1})
    assert callable(report.toterminal)
    assert vars(report)["extra"] == 1
    assert "head_line" not in vars(report)


@pytest.mark.parametrize(
    "change",
    [
        {"$report_type": "CollectReport"},
        {"when": "later"},
        {"when": ["call"]},
        {"outcome": "fine"},
        {"longrepr": 7},
        {"longrepr": ["only", "two"]},
        {"longrepr": ["path", "line", "why"]},
        {"longrepr": {"reprcrash": {}, "reprtraceback": {}}},
        {"longrepr": {"reprcrash": None, "reprtraceback": {"reprentries": [{"type": "Evil"}]}}},
        {
            "longrepr": {
                "chain": None,
                "sections": [],
                "reprcrash": None,
                "reprtraceback": {
                    "extraline": None,
                    "style": "native",
                    "reprentries": [{"type": "ReprEntryNative", "data": {"lines": [7]}}],
                },
            }
        },
        {"duration": "long"},
        {"duration": float("nan")},
        {"start": None},
        {"wasxfail": 3},
    ],
    ids=repr,
)
def test_what_is_no_report_is_refused(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    with pytest.raises(BadReport):
        rebuild(request.node, {**GOOD, **change})
    capsys.readouterr()


@pytest.mark.parametrize("data", [None, [], "report", 7, {}])
def test_other_things_are_refused(request: pytest.FixtureRequest, data: object) -> None:
    with pytest.raises(BadReport):
        rebuild(request.node, data)


def test_anything_becomes_plain_data() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert plain({1: (2**70, b"x", "\udc80"), "s": {3}}) == {
        "1": [str(2**70), "b'x'", "\\udc80"],
        "s": [3],
    }
    assert "..." in str(plain(deep))
    assert len(plain("x" * 2**22)) < 2**21
