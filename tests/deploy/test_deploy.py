"""What deploy/ ships is accepted by the tools that will read it, and a daemon runs under it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hosts import python_path

import pyproc
from pyproc import Pool, Sandbox
from pyproc.cli import main

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILTER = DEPLOY / "docker" / "seccomp.json"
DEADLINE = 60.0
#: Where the files of deploy/ put things.
PLACES = ("/srv/app", "/etc/pyproc", "/run/pyproc")


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "pyproc.yaml").read_text()))


def tried(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """The ended tool; CI installs every one of them."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed here")
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="deploy-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def installed(folder: Path, configuration: str, policy: str) -> Path:
    """The configuration, its places moved below the folder and its caller being ourselves."""
    for place in PLACES:
        (folder / place.lstrip("/")).mkdir(parents=True)
    (folder / "run" / "pyproc").chmod(0o700)
    shutil.copy(DEPLOY / "app.py", folder / "srv" / "app")
    for name, text in ("pyproc.toml", configuration), ("policy.toml", policy):
        for place in PLACES:
            text = text.replace(place, f"{folder}{place}")
        text = text.replace("uid = 10001", f"uid = {os.geteuid()}")
        (folder / "etc" / "pyproc" / name).write_text(text)
    return folder / "etc" / "pyproc" / "pyproc.toml"


def served(folder: Path, configuration: Path, *before: str | Path) -> int:
    """Starts the daemon, makes a call through its socket and ends it by SIGTERM."""
    found = re.search(r'^socket = "(.*)"', configuration.read_text(), re.MULTILINE)
    assert found is not None
    path = found[1]
    daemon = subprocess.Popen(
        [sys.executable, *map(str, before), "-m", "pyproc", "serve", "--config", configuration],
        cwd=folder, env=os.environ | {"PYTHONPATH": python_path(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        limit = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            assert daemon.poll() is None, daemon.communicate()[1].decode()
            assert time.monotonic() < limit
            time.sleep(0.02)
        with pyproc.connect(path) as pool:
            answer: int = pool.call("words", "three short words")
            with pytest.raises(pyproc.AccessDenied):
                pool.call("other")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE) == 0
    finally:
        daemon.kill()
        daemon.communicate()
    return answer


@pytest.mark.no_sanitizer("its daemon starts without the sanitizer's runtime")
def test_a_daemon_runs_as_the_configuration_says(folder: Path) -> None:
    texts = [(DEPLOY / name).read_text() for name in ("pyproc.toml", "policy.toml")]
    configuration = installed(folder, *texts)
    assert main(["config", "check", str(configuration)]) == 0
    assert served(folder, configuration) == 3


@pytest.mark.no_sanitizer("its daemon starts without the sanitizer's runtime")
def test_the_pods_configuration_runs_in_a_volume_that_anybody_may_write(folder: Path) -> None:
    data = documents()[0]["data"]
    configuration = installed(folder, data["pyproc.toml"], data["policy.toml"])
    (folder / "run" / "pyproc").chmod(0o2777)
    assert served(folder, configuration) == 3


@pytest.mark.no_sanitizer("its daemon starts without the sanitizer's runtime")
def test_a_strict_daemon_runs_under_the_containers_filter(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the container's user is not root: the run as an ordinary user tries it")
    texts = [(DEPLOY / name).read_text() for name in ("pyproc.toml", "policy.toml")]
    configuration = installed(folder, *texts)
    assert served(folder, configuration, ROOT / "tests/security/restricted.py", FILTER) == 3


def test_a_worker_can_start_under_the_containers_filter(folder: Path) -> None:
    box = Sandbox("baseline", syscalls=str(FILTER))
    with Pool(DEPLOY / "app.py", workers=1, sandbox=box) as pool:
        assert pool.call("words", "three short words") == 3


@pytest.mark.parametrize(
    "call",
    [
        "mount", "ptrace", "bpf", "keyctl", "kexec_load", "init_module", "io_uring_setup", "setns",
        "process_vm_readv", "perf_event_open", "userfaultfd", "open_by_handle_at", "reboot",
    ],
)  # fmt: skip
def test_the_containers_filter_leaves_out(call: str) -> None:
    profile = json.loads(FILTER.read_text())
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert call not in allowed


def test_the_image_is_not_roots_and_has_all_that_it_copies() -> None:
    lines = (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert "USER 10001:10001" in lines
    assert all((ROOT / name).exists() for name in copied)


def test_every_container_of_the_pod_is_without_rights() -> None:
    (pod,) = (d["spec"]["template"]["spec"] for d in documents() if d["kind"] == "Deployment")
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "Localhost"
    assert not any(pod.get(name) for name in ("hostPID", "hostNetwork", "hostIPC"))
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def units(tmp_path: Path) -> list[Path]:
    """Copies whose program exists here."""
    found = []
    for name in "pyproc.service", "pyproc.socket":
        text = (DEPLOY / "systemd" / name).read_text()
        found.append(tmp_path / name)
        found[-1].write_text(text.replace("/opt/pyproc/bin/pyproc", "/bin/true"))
    return found


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    done = tried("systemd-analyze", "verify", "--man=no", *units(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_the_service_hardly_exposed(tmp_path: Path) -> None:
    service, _socket = units(tmp_path)
    done = tried("systemd-analyze", "security", "--offline=true", "--threshold=15", service)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("tool", "file"),
    [("systemd-sysusers", "pyproc.sysusers.conf"), ("systemd-tmpfiles", "pyproc.tmpfiles.conf")],
)
def test_systemd_makes_the_user_and_the_directories(tool: str, file: str, tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "systemd" / file, tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("pyproc:x:990:990::/:/bin/false\n")
    (tmp_path / "etc" / "group").write_text("pyproc:x:990:\n")
    option = "--create" if tool == "systemd-tmpfiles" else "--dry-run"
    if option == "--create" and os.geteuid() != 0:
        pytest.skip("only root gives directories away")
    done = tried(tool, option, f"--root={tmp_path}", tmp_path / file)
    assert done.returncode == 0, done.stderr
    if option == "--create":
        status = (tmp_path / "run" / "pyproc").stat()
        assert (status.st_mode & 0o777, status.st_uid) == (0o700, 990)


def test_apparmor_compiles_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    done = tried("apparmor_parser", "-QT", DEPLOY / "apparmor" / "pyproc")
    assert done.returncode == 0, done.stderr
