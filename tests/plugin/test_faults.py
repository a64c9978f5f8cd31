"""`pyproc_pool`, `pyproc_pool_factory` and `pyproc_faults`: pools, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_runs import Runs

from pyproc import Limits, Pool, Timeouts, errors
from pyproc.testing.faults import Faults

APP = Path(__file__).resolve().parent / "apps" / "doubling.py"
DEADLINE = 60.0


@pytest.fixture
def faults() -> Iterator[Faults]:
    """What the plugin's own fixture gives."""
    with Faults() as active:
        yield active


@pytest.fixture
def pool(faults: Faults) -> Iterator[Pool]:
    """Two workers that know of the faults."""
    with Pool(APP, workers=2, timeouts=Timeouts(task=DEADLINE)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda faults: faults.crash("double", call=2), errors.WorkerCrashed),
        (lambda faults: faults.crash("double", call=2, signal="SIGKILL"), errors.WorkerKilled),
        (lambda faults: faults.exit("double", call=2, code=9), errors.WorkerExited),
        (lambda faults: faults.torn_frame("double", call=2), errors.WorkerDied),
    ],
    ids=["crash", "kill", "exit", "torn frame"],
)
def test_the_call_that_was_named_fails_and_no_other(
    pool: Pool, faults: Faults, ask: Callable[[Faults], None], error: type[errors.Error]
) -> None:
    ask(faults)
    assert pool.call("double", 1) == 2
    with pytest.raises(error):
        pool.call("double", 2)
    assert pool.call("double", 3) == 6
    assert faults.calls("double") == 3


def test_a_hang_ends_with_the_time_limit(pool: Pool, faults: Faults) -> None:
    faults.hang("double")
    with pytest.raises(errors.TaskTimeout):
        pool.options(timeout=0.2).call("double", 1)
    assert pool.call("double", 1) == 2


def test_slow_calls_take_longer(pool: Pool, faults: Faults) -> None:
    faults.slow("double", 30.0)
    future = pool.submit("double", 1)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.1)
    assert future.kill()


def test_a_leak_stays_in_its_worker(faults: Faults) -> None:
    with Pool(APP, workers=1) as pool:
        before = pool.workers()[0].rss
        faults.leak("double", size="32MiB", descriptors=5)
        descriptors = pool.call("descriptors")
        assert pool.call("double", 2) == 4
        assert pool.call("descriptors") == descriptors + 5
        assert before is not None
        assert (pool.workers()[0].rss or 0) - before > 24 * 2**20


def test_want_of_memory_meets_the_limit(faults: Faults) -> None:
    faults.oom("double")
    with Pool(APP, workers=1, limits=Limits(memory="64MiB")) as pool:
        with pytest.raises(errors.MemoryLimitExceeded):
            pool.call("double", 1)
        assert pool.call("double", 1) == 2


def test_want_of_memory_without_a_limit_gives_up(pool: Pool, faults: Faults) -> None:
    faults.oom("double", at_most="8MiB")
    with pytest.raises(MemoryError, match="no limit has stopped it"):
        pool.call("double", 1)


def test_every_call_can_be_struck(pool: Pool, faults: Faults) -> None:
    assert pool.call("double", 1) == 2
    faults.exit("double", call="every")
    for _ in range(3):
        with pytest.raises(errors.WorkerExited):
            pool.call("double", 1)
    assert pool.call("descriptors") > 0


def test_several_calls_can_be_struck(pool: Pool, faults: Faults) -> None:
    faults.exit("double", call=[1, 3])
    ends = list(pool.map("double", [0, 1, 2, 3], chunksize=1, return_exceptions=True))
    assert sum(isinstance(end, errors.WorkerExited) for end in ends) == 2


def test_coroutine_functions_are_struck_too(pool: Pool, faults: Faults) -> None:
    faults.exit("later", call=2)
    assert pool.call("later", 1) == 1
    with pytest.raises(errors.WorkerExited):
        pool.call("later", 1)


def test_arguments_are_still_checked_first(pool: Pool, faults: Faults) -> None:
    faults.exit("double", call=1)
    with pytest.raises(errors.ValidationError):
        pool.call("double", "two")
    assert faults.calls("double") == 0


def test_pools_without_faults_are_left_alone(faults: Faults) -> None:
    faults.exit("double")
    faults.__exit__()
    with Pool(APP, workers=1) as pool:
        assert pool.call("double", 1) == 2


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda faults: faults.exit("double", call=0), "call=0"),
        (lambda faults: faults.exit("double", call="often"), "call='often'"),
        (lambda faults: faults.exit("double", code=999), "code=999"),
        (lambda faults: faults.crash("double", signal="SIGNONE"), "SIGNONE"),
        (lambda faults: faults.slow("double", -1), "seconds"),
        (lambda faults: faults.leak("double", size="much"), "size"),
        (lambda faults: faults.leak("double", descriptors=-1), "descriptors"),
    ],
)
def test_a_wrong_fault_is_refused_by_name(
    faults: Faults, ask: Callable[[Faults], None], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        ask(faults)


def test_only_one_plan_is_active(faults: Faults) -> None:
    with pytest.raises(RuntimeError, match="already"), Faults():
        pass


def test_the_fixtures_open_and_close_pools(runs: Runs) -> None:
    runs.file("doubling.py", APP.read_text())
    runs.file("pytest.ini", "[pytest]\npyproc_target = doubling:app\n")
    done = runs.pytest(
        test="""
import pytest, pyproc

def test_of_the_ini_file(pyproc_pool):
    assert pyproc_pool.call("double", 2) == 4

@pytest.mark.pyproc("doubling.py", workers=1, limits=pyproc.Limits(open_files=64))
def test_of_the_marker(pyproc_pool, pyproc_faults):
    pyproc_faults.crash("double")
    with pytest.raises(pyproc.WorkerCrashed):
        pyproc_pool.call("double", 2)
    assert len(pyproc_pool.workers()) == 1

opened = []
def test_of_the_factory(pyproc_pool_factory):
    opened.extend(pyproc_pool_factory("doubling:app") for _ in range(2))
    assert [pool.call("double", 2) for pool in opened] == [4, 4]

def test_they_are_closed():
    for pool in opened:
        with pytest.raises(pyproc.PoolClosed):
            pool.call("double", 2)
"""
    )
    done.assert_outcomes(passed=4)


def test_a_pool_without_a_target_is_an_error_that_says_how(runs: Runs) -> None:
    done = runs.pytest(test="def test_it(pyproc_pool): pass")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*pyproc_target = module:app*"])
