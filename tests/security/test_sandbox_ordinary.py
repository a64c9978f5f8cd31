"""baseline runs ordinary programs unchanged, as root and as an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Limits, Pool, Sandbox, _core, sandbox

pytestmark = pytest.mark.no_sanitizer("its runtime opens and maps what a sandbox refuses")
APP = Path(__file__).parent / "apps" / "ordinary.py"
SPACES = ["user", "mount", "pid"] if os.geteuid() != 0 else ["mount", "pid"]
HAS_SPACES = _core.try_namespaces(sum(sandbox.NAMESPACES[name] for name in SPACES)) == 0
needs_spaces = pytest.mark.skipif(not HAS_SPACES, reason="this host lets nobody have namespaces")


@pytest.fixture(name="pool", scope="module", params=["exec", "template"])
def in_baseline(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="baseline", start_method=request.param) as opened:
        yield opened


@pytest.mark.parametrize("name", ["times_out", "asyncio_program", "archives", "database"])
def test_an_ordinary_program_works(pool: Pool, name: str) -> None:
    assert pool.call(name) == "works"


@needs_spaces
@pytest.mark.parametrize("name", ["copied_tree", "queued", "joblib_program"])
def test_a_program_that_needs_modes_or_shared_memory_works(pool: Pool, name: str) -> None:
    assert pool.call(name) == "works"


def test_the_mode_of_what_was_not_granted_cannot_be_changed(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    file.chmod(0o640)
    with pytest.raises(OSError, match=r"Permission|permitted|Read-only"):
        pool.call("change_mode", str(file))
    assert file.stat().st_mode & 0o777 == 0o640


def test_the_mode_of_what_was_granted_for_reading_cannot_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    file.chmod(0o640)
    with (
        Pool(APP, workers=1, sandbox=Sandbox(read=[tmp_path])) as pool,
        pytest.raises(OSError, match=r"Permission|permitted|Read-only"),
    ):
        pool.call("change_mode", str(file))
    assert file.stat().st_mode & 0o777 == 0o640


@needs_spaces
def test_workers_see_neither_host_nor_keeper(pool: Pool) -> None:
    seen = pool.call("processes")
    assert str(pool.call("pid")) in seen
    assert "1" not in seen  # the keeper; who is outside has no number in there at all


@needs_spaces
@pytest.mark.parametrize("profile", ["baseline", "strict", "compute"])
@pytest.mark.parametrize("method", ["exec", "template"])
def test_the_pid_that_the_host_is_told_is_its_own_number(profile: str, method: Any) -> None:
    with Pool(APP, workers=1, sandbox=profile, start_method=method) as pool:
        inside, outside = pool.call("pid"), pool.workers()[0].pid
        status = Path(f"/proc/{outside}/status").read_text()
        numbers = status.partition("\nNSpid:")[2].splitlines()[0].split()
        assert numbers[-1] == str(inside)
        assert inside != outside
        spaces = next(line for line in pool.isolation_report() if line.layer == "namespaces")
        assert "pid" in spaces.state


def test_a_worker_with_few_descriptors_starts_in_a_sandbox() -> None:
    limits = Limits(open_files=24)
    with Pool(APP, workers=1, sandbox="baseline", limits=limits) as pool:
        assert pool.call("database") == "works"
