"""What comes back is data: nothing that a worker answers is loaded, imported or evaluated."""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, errors

APP = Path(__file__).parent / "apps" / "prober.py"
PACKAGE = Path(pyproc.__file__).parent


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    with Pool(APP, workers=1) as pool:
        yield pool


@pytest.mark.parametrize("way", ["call", "submit", "map"])
@pytest.mark.parametrize(
    "how",
    [
        "bytes", "text", "object", "raise object", "raise bytes", "raise own class",
        "numpy object array",
    ],
)  # fmt: skip
def test_a_pickle_in_an_answer_is_never_loaded(
    shared: Pool, tmp_path: Path, way: str, how: str
) -> None:
    trap = tmp_path / "loaded"
    answer: Any
    try:
        if way == "call":
            answer = shared.call("pickled", str(trap), how)
        elif way == "submit":
            answer = shared.submit("pickled", str(trap), how).result(60)
        else:
            (answer,) = shared.map("pickled_item", [(str(trap), how)])
    except Exception as error:
        answer = error
    repr(answer), str(answer)
    if isinstance(answer, BaseException):
        repr(answer.__cause__), answer.args
    assert not trap.exists()
    if how in ("bytes", "text"):
        assert isinstance(answer, bytes | str)


def test_the_hosts_code_never_unpickles() -> None:
    """The loaders of pickle are named where the worker runs, and in the one file of
    results="pickle", whose importers tests/test_source.py holds to the Executor."""
    loaders = {"loads", "load", "Unpickler", "eval", "exec", "compile"}
    modules = {"pickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill"}
    found = []
    for path in sorted(set(PACKAGE.glob("*.py")) - {PACKAGE / "_unpickle.py"}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in modules and node.attr in loaders:
                    found.append(f"{path.name}:{node.lineno} {node.value.id}.{node.attr}")
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("eval", "exec", "compile")
            ):
                found.append(f"{path.name}:{node.lineno} {node.func.id}")
            elif isinstance(node, ast.ImportFrom) and node.module in modules:
                found.append(f"{path.name}:{node.lineno} from {node.module}")
    assert found == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("no_such_module", "Error"),
        ("antigravity", "Error"),
        ("this", "Error"),
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "SystemExit"),
        ("subprocess", "CalledProcessError"),
        ("pyproc.errors", "WorkerKilled"),
        ("pyproc.errors", "PoolClosed"),
    ],
)
def test_an_exceptions_name_imports_and_makes_nothing(shared: Pool, module: str, name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(errors.RemoteError) as caught:
        shared.call("named_like", module, name)
    assert caught.value.message == "words"
    assert set(sys.modules) - before <= {"pyproc._rebuild", "pyproc._ends", "signal"}


def test_a_log_record_of_a_worker_is_text(
    shared: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trap = tmp_path / "loaded"
    with caplog.at_level(logging.DEBUG):
        shared.call("log_about", str(trap))
    assert not trap.exists()
    assert all(isinstance(record.msg, str) and not record.args for record in caplog.records)
