"""Pools and executors in a notebook: through a real Jupyter kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")

from kernels import Notebook, family, left_of

OPEN = """
import time
import pyproc

def twice(n):
    print("twice", n)
    return 2 * n

def hang(n=0):
    print("hanging", flush=True)
    time.sleep(600)

def pages():
    yield 1
    hang()

async def wait_for_all(names):
    async for x in pool.amap("hang", names):
        pass

pool = pyproc.Pool([twice, hang, pages], workers=1)
executor = pyproc.Executor(1)
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A kernel with a pool and an executor open in it; tests after one another use them."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch, Notebook(folder, patch) as notebook:
        notebook.run(OPEN)
        yield notebook


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A kernel for one test, which may end it."""
    with Notebook(tmp_path, monkeypatch) as notebook:
        yield notebook


@pytest.mark.parametrize(
    "source",
    [
        "pool.call('twice', {n})",
        "pool.submit('twice', {n}).result()",
        "list(pool.map('twice', [{n}]))[0]",
        "await pool.acall('twice', {n})",
        "executor.submit(twice, {n}).result()",
    ],
)
def test_what_a_worker_prints_is_shown_in_the_cell_that_called_it(
    opened: Notebook, source: str
) -> None:
    for n in range(20):
        cell = opened.run(source.format(n=n))
        assert (cell.out, cell.value) == (f"twice {n}\n", str(2 * n))


def test_a_death_is_shown_with_its_name_and_costs_one_call(opened: Notebook) -> None:
    cell = opened.wait(opened.send("import os; executor.submit(os.abort).result()"))
    assert cell.error == "WorkerCrashed"
    assert any("SIGABRT" in line for line in cell.traceback)
    assert opened.run("executor.submit(twice, 4).result()").value == "8"


def test_the_function_of_an_edited_cell_is_the_one_that_runs(opened: Notebook) -> None:
    assert opened.run("rate = 2\ndef price(n):\n    return rate * n").error is None
    assert opened.run("executor.submit(price, 10).result()").value == "20"
    opened.run("def price(n):\n    return -rate * n")
    assert opened.run("executor.submit(price, 10).result()").value == "-20"
    opened.run("rate = 5")
    assert opened.run("list(executor.map(price, [1, 2]))").value == "[-5, -10]"


def test_an_edited_cell_exposes_its_function_again(opened: Notebook) -> None:
    opened.run("app = pyproc.App()")
    cell = """
@app.expose
def answer() -> int: return {n}
with pyproc.Pool(app, workers=1) as own: print(own.call("answer"))
"""
    assert opened.run(cell.format(n=1)).out == "1\n"
    assert opened.run(cell.format(n=2)).out == "2\n"


@pytest.mark.parametrize(
    "source",
    [
        "pool.call('hang')",
        "pool.submit('hang').result()",
        "list(pool.map('hang', range(3)))",
        "for part in pool.stream('pages'): print('got', part)",
        "await pool.acall('hang')",
        "await wait_for_all(range(3))",
        "executor.submit(hang).result()",
        "list(executor.map(hang, range(3)))",
    ],
)
def test_the_stop_button_leaves_pool_and_executor_usable(opened: Notebook, source: str) -> None:
    cell = opened.send(source)
    opened.wait(cell, until="hanging")
    opened.interrupt()
    opened.wait(cell)
    assert cell.error in ("KeyboardInterrupt", "CancelledError"), cell.traceback
    # An executor's tasks are not the cell's: what was submitted still runs, as in the standard
    # library, unless it is stopped.
    if source.startswith(("pool.submit", "executor.submit", "list(executor")):
        opened.run("executor.kill_workers(); executor = pyproc.Executor(1)\npool.reload()")
    assert opened.run("pool.call('twice', 1)").value == "2"
    assert opened.run("await pool.acall('twice', 1)").value == "2"
    assert opened.run("executor.submit(twice, 1).result()").value == "2"


@pytest.mark.parametrize("how", ["killed", "asked"])
def test_a_restart_of_the_kernel_leaves_no_process(own: Notebook, how: str) -> None:
    own.run(OPEN)
    own.run("executor.submit(twice, 1).result(), pool.submit('hang')")
    before = family(own.pid)
    assert len(before) > 4
    own.restart(now=how == "killed")
    assert left_of(before) == set()
    own.run(OPEN)
    assert own.run("pool.call('twice', 2)").value == "4"
