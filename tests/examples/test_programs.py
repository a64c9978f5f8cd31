"""The example programs, run as their readers run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hosts import python_path

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
DEADLINE = 150.0


def run(folder: Path, *command: str) -> str:
    """What the program prints; it must end well."""
    environment = os.environ | {"PYTHONPATH": python_path(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=DEADLINE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SHOWN = {
    "pdf_text.py": [
        "good.pdf: 'Hello from a worker'",
        "broken.pdf: RemoteError",
        "slow.pdf: TaskTimeout",
    ],
    "thumbnails.py": [
        "wide.jpg: b'\\x89PNG' thumbnail",
        "tall.jpg: b'\\x89PNG' thumbnail",
        "words.jpg: RemoteError",
        "bomb.png: RemoteError",
    ],
    "regex_service.py": [
        'plain: {"found": ["1", "22"]}',
        'wrong: {"error": "RemoteError"}',
        'slow: {"error": "TaskTimeout"}',
        'plain: {"found": ["a", "b"]}',
    ],
    "leaking_model.py": ["200 right answers from several workers"],
    "plugin_host.py": [
        "shout: HELLO!",
        "crash: WorkerCrashed",
        "hang: TaskTimeout",
        "spy: PermissionError",
    ],
}
NEEDS = {"pdf_text.py": "pypdf", "thumbnails.py": "PIL"}


@pytest.mark.parametrize("name", SHOWN)
def test_a_program_shows_what_it_says(tmp_path: Path, name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    assert run(tmp_path, str(EXAMPLES / name)).splitlines() == SHOWN[name]


def test_the_tests_of_the_pytest_example_pass(tmp_path: Path) -> None:
    has_plugin = any(point.name == "pyproc" for point in metadata.entry_points(group="pytest11"))
    load = [] if has_plugin else ["-p", "pyproc.pytest_plugin"]
    file = str(EXAMPLES / "test_with_pytest.py")
    shown = run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLES),
                "--import-mode=importlib", "-c", os.devnull, *load, "-q", file)  # fmt: skip
    assert "3 passed" in shown


@pytest.mark.may_leak("jupyter_client keeps an event loop for the thread")
def test_the_cells_of_the_notebook_show_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ipykernel", "jupyter_client", "cloudpickle"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from kernels import Notebook

    document = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    monkeypatch.setenv("PYTHONPATH", python_path(ROOT))
    with Notebook(tmp_path, monkeypatch) as notebook:
        for cell in cells:
            got = notebook.wait(notebook.send("".join(cell["source"])))
            texts = [out for out in cell["outputs"] if out["output_type"] == "stream"]
            errors = [out for out in cell["outputs"] if out["output_type"] == "error"]
            assert got.out == "".join("".join(out["text"]) for out in texts)
            assert got.error == (errors[0]["ename"] if errors else None), got.traceback
