"""The alert rules, the dashboard and the page name metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pyproc import Pool
from pyproc.metrics import Collector
from pyproc.server import Server

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations"
NAME = re.compile(r"\bpyproc_[a-z_]+[a-z]\b")
DURATION = re.compile(r"[0-9]+[smhd]")


@pytest.fixture
def known(app: str, tmp_path: Path) -> set[str]:
    """Every sample's name, of a pool with all that can be counted."""
    with (
        Pool(app, workers=1, audit=str(tmp_path / "audit.jsonl"), rate=100) as pool,
        Server(pool, tmp_path / "run" / "docs.sock") as server,
    ):
        registry = CollectorRegistry()
        registry.register(Collector(pool, server=server))
        text = generate_latest(registry).decode()
    return {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }


def rules() -> list[dict[str, Any]]:
    """All alert rules."""
    document = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found = json.loads((OPERATIONS / "grafana.json").read_text())["panels"]
    assert isinstance(found, list)
    return found


def check_expression(text: str) -> None:
    """What a typing error breaks first: brackets, quotes, ranges."""
    outside = re.sub(r'"[^"]*"', "", text)
    assert '"' not in outside, text
    for opening, closing in ("()", "[]", "{}"):
        assert outside.count(opening) == outside.count(closing), text
    for span in re.findall(r"\[([^]]*)\]", outside):
        assert span == "$__rate_interval" or DURATION.fullmatch(span), text


def test_alert_rules_are_well_formed_and_each_name_is_there_once() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 10
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert {"summary", "description"} == set(rule["annotations"])
        assert DURATION.fullmatch(rule.get("for", "1m"))
        check_expression(rule["expr"])


def test_the_dashboard_is_well_formed_and_its_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert all(0 <= x < 24 for x, _ in cells)
        taken |= cells
        assert panel["targets"]
        for target in panel["targets"]:
            check_expression(target["expr"])
    assert len({panel["id"] for panel in panels()}) == len(panels()) >= 10


def test_every_metric_of_a_rule_or_a_panel_exists(known: set[str]) -> None:
    texts = [rule["expr"] for rule in rules()]
    texts += [target["expr"] for panel in panels() for target in panel["targets"]]
    named = [(text, NAME.findall(text)) for text in texts]
    assert all(names for _, names in named)
    assert {name for _, names in named for name in names} - known == set()


def test_every_metric_that_the_page_names_exists_and_it_names_all(known: set[str]) -> None:
    rows = [
        line.split("|")[1]
        for line in (OPERATIONS / "monitoring.md").read_text().splitlines()
        if line.startswith("| `pyproc_")
    ]
    written = set()
    for row in rows:
        for word in re.findall(r"`([a-z_]+)", row):
            written.add(word)
            if word.startswith("_"):  # short for another end of the row's first name
                written.remove(word)
                written.add(word.strip("_"))
    shorts = {name for name in written if not name.startswith("pyproc_")}
    histograms = {"pyproc_call_seconds", "pyproc_queue_wait_seconds"}
    full = written - shorts
    assert full - known - histograms == set()
    plain = {
        name for name in known if not name.startswith(tuple(f"{part}_" for part in histograms))
    }
    ends = tuple(f"_{short}{end}" for short in shorts for end in ("", "_total"))
    assert {name for name in plain - full if not name.endswith(ends)} == set()
    assert {
        short
        for short in shorts
        if not any(name.endswith((f"_{short}", f"_{short}_total")) for name in known)
    } == set()
