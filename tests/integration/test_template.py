"""Workers forked from a template: what they share with it, and what they must not."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import descendants, is_gone, wait_gone

from pyproc import Pool, WorkerCrashed, WorkerKilled, WorkerStartError

APPS = Path(__file__).parent / "apps"
APP = APPS / "template_app.py"
THREADED = APPS / "threaded_app.py"
NUMERIC = APPS / "numeric_app.py"
DEADLINE = 60.0


@pytest.fixture(name="pool")
def forking() -> Iterator[Pool]:
    with Pool(APP, workers=1, start_method="template", sandbox="none") as opened:
        yield opened


def templates_of(pool: Pool) -> list[int]:
    """The keeper's children that are no workers."""
    keeper = pool._core.keeper_pid()
    workers = {worker.pid for worker in pool.workers()}
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return [int(pid) for pid in children if int(pid) not in workers and not is_gone(int(pid))]


def kill_worker(pool: Pool) -> int:
    """Kills the only worker from outside; answers its pid."""
    pid: int = pool.call("pid")
    os.kill(pid, signal.SIGKILL)
    assert wait_gone({pid}, DEADLINE) == set()
    return pid


def from_two_workers(pool: Pool, function: str) -> list[Any]:
    """The function's answer in one worker, and in the one after it."""
    first = pool.call(function)
    kill_worker(pool)
    return [first, pool.call(function)]


def test_auto_forks_where_that_is_safe_and_says_so() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        (worker,) = pool.workers()
    assert worker.start_method == "template"
    assert "one thread" in worker.start_reason


def test_auto_starts_interpreters_for_an_app_with_threads_and_names_them() -> None:
    with Pool(THREADED, workers=1, sandbox="none") as pool:
        assert pool.call("answer") == 42
        (worker,) = pool.workers()
        assert templates_of(pool) == []
    assert worker.start_method == "exec"
    assert "1 thread: " in worker.start_reason


def test_an_app_with_threads_is_never_forked_even_when_asked_to() -> None:
    with pytest.raises(WorkerStartError, match="1 thread: .*on_start"):
        Pool(THREADED, workers=1, start_method="template", sandbox="none")


def test_exec_has_no_template() -> None:
    with Pool(APP, workers=1, start_method="exec", sandbox="none") as pool:
        assert templates_of(pool) == []
        assert pool.workers()[0].start_method == "exec"
        places = pool.call("places")
    assert places["imported"] == places["warmed"] == places["started"] == places["here"]


def test_the_application_is_imported_and_warmed_once_and_started_in_each_worker(
    pool: Pool,
) -> None:
    first, second = from_two_workers(pool, "places")
    (template,) = templates_of(pool)
    assert first["imported"] == second["imported"] == [template]
    assert first["warmed"] == second["warmed"] == [template]
    assert first["started"] == first["here"]
    assert second["started"] == second["here"]
    assert first["here"] != second["here"]


def test_a_forked_worker_leads_its_own_session_and_is_the_keepers_child(pool: Pool) -> None:
    identity = pool.call("identity")
    assert identity["session"] == identity["pid"] == pool.workers()[0].pid
    assert identity["parent"] == pool._core.keeper_pid()


@pytest.mark.parametrize("method", ["template", "exec"])
def test_nothing_random_is_the_same_in_two_workers(method: Any) -> None:
    with Pool(APP, workers=1, start_method=method, sandbox="none") as pool:
        first, second = from_two_workers(pool, "draws")
    assert not set(first) & set(second)


def test_numpys_own_generator_differs_in_two_workers() -> None:
    with Pool(NUMERIC, workers=1, start_method="template", sandbox="none") as pool:
        first, second = from_two_workers_of_numpy(pool)
    assert first != second


def from_two_workers_of_numpy(pool: Pool) -> tuple[float, float]:
    first: float = pool.call("draw")
    with pytest.raises(WorkerCrashed):
        pool.call("crash")
    return first, pool.call("draw")


def test_an_app_with_numpy_is_forked_and_may_use_its_threads() -> None:
    with Pool(NUMERIC, workers=1, env={"OPENBLAS_NUM_THREADS": "2"}, sandbox="none") as pool:
        assert pool.workers()[0].start_method == "template"
        assert pool.call("product", 300) == 1200.0
        assert pool.call("asked") == "2"


def test_a_worker_has_none_of_the_templates_channels(pool: Pool) -> None:
    def channels(links: list[str]) -> list[str]:
        return [link for link in links if link.startswith(("socket:", "pipe:", "/memfd:"))]

    with Pool(APP, workers=1, start_method="exec", sandbox="none") as other:
        assert len(channels(pool.call("descriptors"))) == len(channels(other.call("descriptors")))


def test_a_worker_prints_to_the_host(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()  # pytest's own captures lose what is written while they are read
    monkeypatch.setattr("sys.stdout", shown)
    pool.call("say", "from a fork")
    kill_worker(pool)
    pool.call("say", "from the next one")
    limit = time.monotonic() + DEADLINE
    while "from the next one" not in shown.getvalue() and time.monotonic() < limit:
        time.sleep(0.01)
    assert shown.getvalue().count("from a fork\n") == 1


def test_preloaded_modules_are_there_before_the_application(tmp_path: Path) -> None:
    app = tmp_path / "asking.py"
    app.write_text(
        "import sys\nfound = 'colorsys' in sys.modules\nimport pyproc\napp = pyproc.App()\n"
        "@app.expose\ndef was_there() -> bool: return found\n"
    )
    with Pool(app, workers=1, sandbox="none") as pool:
        assert pool.call("was_there") is False
    with Pool(app, workers=1, preload=["colorsys"], sandbox="none") as pool:
        assert pool.call("was_there") is True
    with Pool(app, workers=1, preload=["colorsys"], start_method="exec", sandbox="none") as pool:
        assert pool.call("was_there") is True


def test_a_module_that_cannot_be_preloaded_is_named() -> None:
    with pytest.raises(WorkerStartError, match="no_such_module") as caught:
        Pool(APP, workers=1, preload=["no_such_module"], sandbox="none")
    assert isinstance(caught.value.__cause__, BaseException)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"start_method": "fork"}, ValueError, "'auto', 'template' or 'exec'"),
        ({"preload": "numpy"}, TypeError, "not one string"),
        ({"preload": ["a b"]}, ValueError, "'a b'"),
    ],
)
def test_bad_options_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Pool(APP, **options, sandbox="none")


def test_a_killed_template_costs_no_call_and_is_replaced(pool: Pool) -> None:
    (template,) = templates_of(pool)
    future = pool.submit("pid")
    os.kill(template, signal.SIGKILL)
    assert future.result(DEADLINE) == pool.call("pid")
    kill_worker(pool)
    assert pool.call("places")["imported"] == templates_of(pool) != [template]


def test_a_template_killed_again_and_again_costs_no_call() -> None:
    with Pool(APP, workers=2, start_method="template", sandbox="none") as pool:
        for _ in range(10):
            for template in templates_of(pool):
                os.kill(template, signal.SIGKILL)
            with pytest.raises(WorkerKilled):
                pool.call("die", signal.SIGKILL)
            assert isinstance(pool.call("pid"), int)


def test_a_stopped_template_is_replaced(pool: Pool) -> None:
    (template,) = templates_of(pool)
    os.kill(template, signal.SIGSTOP)
    kill_worker(pool)
    assert isinstance(pool.call("pid"), int)
    assert wait_gone({template}, DEADLINE) == set()


def test_a_template_is_renewed_when_its_workers_crash_often(pool: Pool) -> None:
    (template,) = templates_of(pool)
    for _ in range(25):
        with pytest.raises(WorkerCrashed):
            pool.call("die", signal.SIGSEGV)
    assert wait_gone({template}, DEADLINE) == set()
    kill_worker(pool)
    assert pool.call("places")["imported"] == templates_of(pool)


def test_nothing_of_a_pool_with_a_template_is_left_after_it(pool: Pool) -> None:
    everybody = descendants(os.getpid())
    assert len(everybody) >= 3
    pool.close()
    assert wait_gone(everybody, DEADLINE) == set()
