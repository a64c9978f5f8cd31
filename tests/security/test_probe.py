"""isolation_report(probe=True): what was really tried, and what the kernel answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyproc import Pool, Sandbox

APP = Path(__file__).parent / "apps" / "violating.py"


def probed(sandbox: str | Sandbox) -> dict[str, str]:
    with Pool(APP, workers=1, sandbox=sandbox) as pool:
        report = pool.isolation_report(probe=True)
        assert pool.stats()["workers"] == 1
        assert pool.call("add", 1, 2) == 3
        assert not [event for event in pool.events() if event.kind == "violation"]
    assert {line.source for line in report} <= {"kernel", "keeper", "worker"}
    found = {line.layer: line.state for line in report if line.layer.startswith("probe: ")}
    return {layer.removeprefix("probe: "): state for layer, state in found.items()}


@pytest.mark.parametrize("profile", ["baseline", "strict", "compute"])
def test_what_no_profile_allows_is_refused(profile: str) -> None:
    found = probed(profile)
    open_to_all = {"start a process", "start a program"} if profile == "baseline" else set()
    for deed, state in found.items():
        if deed in open_to_all:
            assert state == "done"
        else:
            assert state.startswith("refused: "), (deed, state)
    assert found["unmount"].startswith("refused: ended by ")
    assert len(found) == 9


def test_what_was_granted_is_done() -> None:
    assert probed(Sandbox("baseline", network=True))["make a socket"] == "done"


def test_without_a_sandbox_everything_is_done_that_the_user_may() -> None:
    found = probed("none")
    assert found["read a file that is not granted"] == "done"
    assert found["make a socket"] == "done"
    assert found["signal the host"] == "done"
    assert found["unmount"].startswith("answered: ")
