"""SECURITY.md names tests as its proofs: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_test_that_the_security_document_names_exists() -> None:
    text = (HERE.parents[1] / "SECURITY.md").read_text()
    named = re.findall(r"`([a-z_/]+\.py)::(test_[a-z_0-9]+)`", text)
    assert len(named) >= 10
    missing = [f"{file}::{name}" for file, name in named if not _has(file, name)]
    assert missing == []


def _has(file: str, name: str) -> bool:
    path = HERE / file
    return path.exists() and f"def {name}(" in path.read_text()
