"""`pyproc learn`: what it proposes is what a strict pool needs, and with it the program runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import python_path

from pyproc import Pool, Sandbox
from pyproc.learning import Learned, learn

ROOT = Path(__file__).resolve().parents[2]

FUNCTIONS = """
import pyproc

app = pyproc.App()

@app.expose
def reads(path):
    with open(path) as file:
        return file.read()

@app.expose
def imports():
    import _zoneinfo
    return _zoneinfo.__name__

def writes(path):
    with open(path, "w") as file:
        return file.write("text")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Outside of the temporary directory, which each worker has anew."""
    tmp_path.chmod(0o755)
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def run(place: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Learned:
    script = place / "script.py"
    script.write_text(f"import sys\nfrom functions import *\n{body}\n")
    (place / "elsewhere").mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(place / "elsewhere"))
    return learn([str(script), "word"], timeout=60)


def test_files_modules_programs_and_sockets_are_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(
        place, monkeypatch,
        f"import socket, subprocess\nassert sys.argv[1:] == ['word']\n"
        f"reads({str(place / 'data.txt')!r})\n"
        f"imports(); writes({str(place / 'out.txt')!r}); socket.socket(socket.AF_INET6).close()\n"
        f"subprocess.run(['/bin/true'], check=True)",
    )  # fmt: skip
    assert found.exit_code == 0
    assert found.read == (str(place / "data.txt"),)
    assert found.written == (str(place / "out.txt"),)
    assert "_zoneinfo" in found.late
    assert found.network == ("inet6",)
    assert found.programs == ("/bin/true",)
    assert found.profile == "baseline"
    assert found.preload == ()


def test_a_pool_with_what_is_proposed_can_do_what_the_program_did(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(place, monkeypatch, f"reads({str(place / 'data.txt')!r}); imports()")
    assert found.profile == "strict"
    assert "_zoneinfo" in found.preload
    sandbox = Sandbox(found.profile, read=found.read)
    assert found.as_python() == (
        f"sandbox=Sandbox('strict', read={list(found.read)!r}), preload={list(found.preload)!r}"
    )
    refused = pytest.raises(ImportError, match="preload=")
    with Pool(place / "functions.py", workers=1, sandbox="strict") as pool, refused:
        pool.call("imports")
    with Pool(
        place / "functions.py", workers=1, sandbox=sandbox, preload=list(found.preload)
    ) as pool:
        assert pool.call("imports") == "_zoneinfo"
        assert pool.call("reads", found.read[0]) == "data"


def test_what_is_proposed_is_a_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyproc import configuration

    found = run(place, monkeypatch, f"reads({str(place / 'data.txt')!r}); imports()")
    file = place / "pyproc.toml"
    file.write_text(found.as_toml())
    pool = configuration.load(file).document.pool
    assert pool.sandbox == Sandbox("strict", read=found.read)
    assert isinstance(pool.preload, list)
    assert "_zoneinfo" in pool.preload


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyproc", "learn", *words],
        env={**os.environ, "PYTHONPATH": python_path(ROOT)}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def test_the_command_prints_json_and_says_that_the_program_failed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(7)\n")
    done = shell("--json", str(script))
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (1, 7)
    done = shell("--", "-m", "json.tool", "--help")
    assert done.returncode == 0
    assert "sandbox=Sandbox('strict')" in done.stdout


def test_what_cannot_be_learnt_from_is_a_clear_error(tmp_path: Path) -> None:
    done = shell(str(tmp_path / "none.py"))
    assert (done.returncode, "there is no such script" in done.stderr) == (2, True)
    script = tmp_path / "script.py"
    script.write_text("import os; os._exit(3)\n")
    done = shell(str(script))
    assert (done.returncode, "without leaving its notes" in done.stderr) == (2, True)
    script.write_text("import time; time.sleep(100)\n")
    done = shell("--timeout", "1", str(script))
    assert (done.returncode, "longer than --timeout 1 s" in done.stderr) == (2, True)
