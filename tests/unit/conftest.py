"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import wire


@pytest.fixture
def child() -> Iterator[wire.Child]:
    """A real worker that has imported `apps/worker_app.py`."""
    with wire.Child() as started:
        wire.open_app(started)
        yield started
