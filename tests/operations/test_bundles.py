"""A crash bundle holds a death and its request, privately and bounded, and can be run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pyproc import AuditLog, Error, Pool, WorkerCrashed
from pyproc.audit.verify import verify
from pyproc.audit.writer import open_writer
from pyproc.bundle import BundleOptions
from pyproc.cli import main


def crash(app: str, bundles: object, text: str = "twice") -> list[Path]:
    """Bundles of one death, oldest first."""
    pool = Pool(app, workers=1, bundles=bundles)  # type: ignore[arg-type]
    with pool, pytest.raises(WorkerCrashed):
        pool.call("die", 3, why=text)
    return sorted(Path("b").glob("*.json"))


def test_a_bundle_says_all_that_is_known_and_only_to_its_owner(app: str) -> None:
    (file,) = crash(app, "b")
    assert file.stat().st_mode & 0o777 == 0o600
    assert Path("b").stat().st_mode & 0o777 == 0o700
    found = json.loads(file.read_text())
    assert (found["error"], found["function"], found["facts"]["signal"]) == (
        "WorkerCrashed", "die", 6,
    )  # fmt: skip
    assert "in die" in found["facts"]["python_stack"]
    assert found["request"]["keywords"] == ["why"]


def test_a_bundle_can_be_run_again(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = crash(app, "b")
    assert main(["replay", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] is True
    Path("served.py").write_text(Path("served.py").read_text().replace("os.abort()", "return"))
    assert main(["replay", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["now"] == "value"


def test_a_request_is_left_out_where_the_options_say_so(app: str) -> None:
    (file,) = crash(app, BundleOptions(path="b", requests=False), "nothing-of-this")
    assert "nothing-of-this" not in file.read_text()
    assert main(["replay", str(file)]) == 5


def test_bundles_are_bounded_in_size_and_number(app: str) -> None:
    options = BundleOptions(path="b", request_max=1000, keep=2)
    for _ in range(3):
        files = crash(app, options, "x" * 100_000)
    assert len(files) == 2
    assert all(file.stat().st_size < 300_000 for file in files)
    assert json.loads(files[0].read_text())["request"] is None


def test_a_directory_that_others_can_enter_is_refused(app: str) -> None:
    Path("b").mkdir()
    Path("b").chmod(0o755)
    with pytest.raises(Error, match="chmod 700"):
        Pool(app, workers=1, bundles="b")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}'])
def test_a_file_that_is_no_bundle_is_named(
    app: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.json").write_text(text)
    assert main(["replay", "x.json"]) != 0
    assert capsys.readouterr().err.startswith("pyproc: x.json: ")


def test_a_backup_of_log_and_key_verifies_and_goes_on_where_it_is_restored(app: str) -> None:
    Path("live").mkdir(mode=0o700)
    Path("live/key").write_bytes(bytes(range(32)))
    Path("live/key").chmod(0o600)
    for _ in range(2):
        writer = open_writer(AuditLog("live/a.jsonl", key_file="live/key"))
        writer.write("auth.ok", uid=1)
        writer.rotate()
        writer.write("auth.ok", uid=2)
        writer.close()
    shutil.copytree("live", "backup")
    shutil.rmtree("live")
    shutil.copytree("backup", "live")
    assert verify("live/a.jsonl", key_file="live/key").verdict == "authentic"
    writer = open_writer(AuditLog("live/a.jsonl", key_file="live/key"))
    writer.close()
    assert verify("live/a.jsonl", key_file="live/key").verdict == "authentic"
