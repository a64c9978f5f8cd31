"""Streams in each profile: credit, closing and both kinds of generators need nothing refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool

APP = Path(__file__).resolve().parents[1] / "integration" / "apps" / "streaming_app.py"


@pytest.mark.parametrize("method", ["template", "exec"])
@pytest.mark.parametrize("profile", ["baseline", "strict", "compute"])
def test_a_confined_worker_streams_and_is_closed(profile: str, method: Any) -> None:
    with Pool(APP, workers=1, sandbox=profile, start_method=method) as pool:
        for name in ("count", "acount"):
            assert list(pool.stream(name, 10_000)) == list(range(10_000))
            with pool.stream(name, 10**9) as stream:
                assert next(stream) == 0
        with pytest.raises(LookupError):
            list(pool.stream("raises", 3))
        assert pool.stats()["workers_started"] == 1
