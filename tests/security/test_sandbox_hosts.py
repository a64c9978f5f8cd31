"""Each profile on older and restricted hosts, by imitation: it starts, or says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROFILES = ("baseline", "strict", "compute")

pytestmark = pytest.mark.no_sanitizer("its host programs start without the sanitizer's runtime")

PROGRAM = """
import sys
from pyproc import Pool, Sandbox, SandboxUnavailable
profile, unsupported, app = sys.argv[1:]
try:
    with Pool(app, workers=1, sandbox=Sandbox(profile, on_unsupported=unsupported)) as pool:
        for deed, value in (("connects", 2), ("signals", 1), ("forks", None)):
            try:
                pool.call(deed, *([] if value is None else [value]))
                print(deed, "done")
            except PermissionError:
                print(deed, "refused")
        print(pool.workers()[0].sandbox)
except SandboxUnavailable as missing:
    print("unavailable:", missing.effect, "|", missing.mechanism, "|", missing.answer)
"""


def run(kind: str, tmp_path: Path, *arguments: str) -> list[str]:
    app = tmp_path / "confined.py"
    shutil.copyfile(HERE / "apps" / "confined.py", app)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # a host that may not mount cannot open a way through
    app.chmod(0o644)
    done = subprocess.run(
        [sys.executable, HERE / "restricted.py", kind, "-c", PROGRAM, *arguments, str(app)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def is_open(path: str) -> bool:
    while path != "/":
        if not os.stat(path).st_mode & 0o001:
            return False
        path = os.path.dirname(path)
    return True


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_starts_under_dockers_filter_or_names_the_closed_directory(
    profile: str, tmp_path: Path
) -> None:
    lines = run("docker", tmp_path, profile, "error")
    if os.geteuid() == 0 and not is_open(os.path.dirname(os.path.realpath(sys.executable))):
        assert lines[0].startswith("unavailable: a user of its own that can read '/")
        assert "private mount namespace" in lines[0]
        return
    forks = "done" if profile == "baseline" else "refused"
    assert lines == ["connects refused", "signals refused", f"forks {forks}", profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_without_landlock_no_profile_starts(profile: str, tmp_path: Path) -> None:
    lines = run("no-landlock", tmp_path, profile, "error")
    assert lines == ["unavailable: files only as granted | Landlock | Function not implemented"]


@pytest.mark.parametrize("profile", PROFILES)
def test_without_landlock_a_report_starts_degraded(profile: str, tmp_path: Path) -> None:
    lines = run("no-landlock", tmp_path, profile, "report")
    assert lines[-1] == f"{profile}(degraded: files only as granted)"
    assert lines[0] == "connects refused"
