"""Each attack succeeds without a sandbox, and fails in the profiles that promise so."""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from security.attacks import execution, files, kernel, network, processes, resources
from security.attacks.bait import Lure, Victim, lured
from security.attacks.registry import ATTACKS, Attack

from pyproc import Limits, Pool, Timeouts, errors

pytestmark = pytest.mark.no_sanitizer("its runtime opens and maps what a sandbox refuses")
HERE = Path(__file__).parent
TESTS = HERE.parents[1]
IS_ROOT = os.geteuid() == 0
MODULES = (execution, files, kernel, network, processes, resources)  # they fill the table
CATEGORIES = (
    "read", "write", "persistence", "proc", "trace", "signal", "exec", "code", "network", "ipc",
    "kernel", "rights", "resources",
)  # fmt: skip
#: They do nothing that could be seen on the victim, or not on every machine.
UNSEEN = {
    "attaches", "seizes", "reads_anothers_limits", "keeps_another_from_the_disk",
    "moves_another_to_one_processor",
}  # fmt: skip
#: An attack that fails by one of these is broken itself.
BROKEN = (NameError, TypeError, AttributeError, KeyError, ImportError, errors.ValidationError)
BOUNDS = Limits(
    memory="64MiB", cpu_time=0.4, processes=8, threads=20, file_size="16MiB", open_files=64,
    result_size="4MiB", output="1MiB",
)  # fmt: skip
#: Profile and start method.
BOXES = [
    ("baseline", "template"),
    ("strict", "exec"),
    ("strict", "template"),
    ("compute", "template"),
]


@pytest.fixture(scope="module")
def lure() -> Iterator[Lure]:
    with (
        lured() as laid,
        Pool(HERE / "app.py", workers=1, **options(laid), sandbox="baseline") as other,
    ):
        laid.bait["other_file"] = other.call("keep", "the-secret-of-the-host")
        laid.bait["other_pid"] = other.workers()[0].pid
        yield laid


def options(lure: Lure) -> dict[str, Any]:
    return {"path": [lure.bait["site"], str(TESTS), *sys.path], "output": "drop"}


@pytest.fixture(scope="module")
def free(lure: Lure) -> Iterator[Pool]:
    with Pool(HERE / "app.py", workers=1, sandbox="none", **options(lure)) as pool:
        yield pool


@pytest.fixture(scope="module", params=BOXES, ids="-".join)
def boxed(request: pytest.FixtureRequest, lure: Lure) -> Iterator[tuple[str, Pool]]:
    profile, method = request.param
    with Pool(
        HERE / "app.py", workers=1, sandbox=profile, start_method=method, **options(lure)
    ) as pool:
        yield profile, pool


@pytest.fixture(scope="module", params=["baseline", "strict"])
def bounded(request: pytest.FixtureRequest, lure: Lure) -> Iterator[Pool]:
    with Pool(
        HERE / "app.py", workers=1, sandbox=request.param, limits=BOUNDS,
        timeouts=Timeouts(task=1.2), **options(lure),
    ) as pool:  # fmt: skip
        yield pool


def settle(pool: Pool) -> None:
    """Waits until it has its worker again, which the attack may have ended."""
    limit = time.monotonic() + 60
    while (stats := pool.stats())["workers_idle"] != 1 or stats["workers"] != 1:
        assert time.monotonic() < limit, stats
        time.sleep(0.005)


def outcome(pool: Pool, attack: Attack, bait: dict[str, Any]) -> Exception | None:
    """None: it got what it wanted."""
    try:
        pool.call("run", attack.name, bait)
    except Exception as error:
        if isinstance(error, BROKEN):
            raise
        if isinstance(error, errors.WorkerDied | errors.ResultTooLarge | errors.TaskTimeout):
            settle(pool)
        return error
    return None


def rows(category: str) -> list[Attack]:
    return [one for one in ATTACKS.values() if one.category == category]


def is_harmed_soon(victim: Victim) -> bool:
    limit = time.monotonic() + 30
    while not victim.is_harmed:
        if time.monotonic() > limit:
            return False
        time.sleep(0.002)
    return True


def succeeds(pool: Pool, attack: Attack, lure: Lure) -> str:
    """ "", or how it failed."""
    lure.reset()
    with victim_of(attack) as victim:
        failed = outcome(pool, attack, lure.bait | {"victim": victim.pid if victim else 0})
        if failed is not None:
            return f"{attack.name}: {failed!r}"
        if victim and attack.name not in UNSEEN and not is_harmed_soon(victim):
            return f"{attack.name}: nothing happened to the victim"
    return ""


def fails(pool: Pool, attack: Attack, lure: Lure) -> str:
    """ "", or what it did."""
    lure.reset()
    with victim_of(attack) as victim:
        if outcome(pool, attack, lure.bait | {"victim": victim.pid if victim else 0}) is None:
            return f"{attack.name} succeeded"
        if victim and victim.is_harmed:
            return f"{attack.name} failed, and harmed its victim"
    return ""


@contextlib.contextmanager
def victim_of(attack: Attack) -> Iterator[Victim | None]:
    if not attack.victim:
        yield None
        return
    one = Victim()
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_attack_succeeds_without_a_sandbox(
    free: Pool, lure: Lure, category: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = []
    for attack in rows(category):
        if attack.root and not IS_ROOT:
            continue  # nobody else can do it at all
        words = succeeds(free, attack, lure)
        if words and not attack.rare:
            failed.append(words)
        elif words:
            with capsys.disabled():
                print(f"  not here ({attack.rare}): {words}")
    assert failed == []


@pytest.mark.parametrize("category", [one for one in CATEGORIES if one != "resources"])
def test_each_attack_fails_in_a_sandbox(boxed: tuple[str, Pool], lure: Lure, category: str) -> None:
    profile, pool = boxed
    promised = [one for one in rows(category) if one.baseline or profile != "baseline"]
    done = [words for one in promised if (words := fails(pool, one, lure))]
    assert done == []


def test_what_takes_more_than_its_share_fails_within_limits(bounded: Pool, lure: Lure) -> None:
    done = [words for one in rows("resources") if (words := fails(bounded, one, lure))]
    assert done == []


def test_a_sandboxed_pool_goes_on_after_all_of_it(boxed: tuple[str, Pool]) -> None:
    _, pool = boxed
    with pytest.raises(Exception, match="0x0|no_such|KeyError"):
        pool.call("run", "no_such_attack", {})
    assert pool.stats()["workers"] == 1


def test_the_table_is_as_large_as_it_says() -> None:
    counts = collections.Counter(one.category for one in ATTACKS.values())
    assert sum(counts.values()) >= 150
    assert set(CATEGORIES) == counts.keys()
