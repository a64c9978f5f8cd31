"""Workers that stay root: what the modes of root's files keep from others, a sandbox keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, Sandbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can stay root")
APP = Path(__file__).parent / "apps" / "confined.py"


@pytest.fixture(name="pool", scope="module")
def as_root() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox=Sandbox("baseline", user="root")) as opened:
        yield opened


def test_the_worker_is_root(pool: Pool) -> None:
    assert pool.call("identity")[0] == 0


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/gshadow"])
def test_files_of_the_system_that_are_not_for_all_stay_closed(pool: Pool, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here")
    assert Path(path).read_bytes()
    with pytest.raises(PermissionError):
        pool.call("read", path)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/ld.so.conf"])
def test_files_that_are_for_all_are_read(pool: Pool, path: str) -> None:
    assert pool.call("read", path)
