"""The daemon as a program: signals, systemd's socket and its datagrams."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyproc

HERE = Path(__file__).resolve().parent
TARGET = HERE / "apps" / "served.py"
PROGRAM = """
import sys
from pyproc.serving import serve
target, path, policy = sys.argv[1:4]
serve(target, socket=path or None, policy=policy or None, pool={"workers": 2},
      drain_timeout=20, started=lambda _: print("serving", flush=True))
"""


class Started:
    """The daemon's process."""

    def __init__(self, tmp_path: Path, policy: str = "", **extra: object) -> None:
        self.path = tmp_path / "run" / "s.sock"
        self.target = tmp_path / "app.py"
        self.target.write_text(TARGET.read_text())
        self.policy = tmp_path / "policy.toml"
        if policy:
            self.policy.write_text(policy)
            self.policy.chmod(0o600)
        self.notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notes.bind(str(tmp_path / "notify"))
        self.notes.settimeout(30)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.target), str(self.path),
             str(self.policy) if policy else ""],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip

    def wait(self, word: str) -> None:
        """Until the daemon has told its manager that."""
        while word not in self.notes.recv(4096).decode():
            pass

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.notes.close()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Started]]:
    started: list[Started] = []
    yield started
    for daemon in started:
        daemon.close()


def test_sigterm_lets_calls_under_way_end(daemons: list[Started], tmp_path: Path) -> None:
    daemon = Started(tmp_path)
    daemons.append(daemon)
    daemon.wait("READY=1")
    with pyproc.connect(daemon.path) as client:
        assert client.call("double", 4) == 8
        future = client.submit("sleep", 1.0)
        client.call("double", 1)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait("STOPPING=1")
        assert future.result(timeout=30) == 1.0
    assert daemon.process.wait(60) == 0
    assert not daemon.path.exists()


def policy(functions: str) -> str:
    return (
        f"version = 1\n[roles.user]\nfunctions = [{functions}]\n"
        f'[[bindings]]\nrole = "user"\nuid = {os.geteuid()}\n'
    )


def test_sighup_reads_policy_and_application_again(daemons: list[Started], tmp_path: Path) -> None:
    daemon = Started(tmp_path, policy('"double"'))
    daemons.append(daemon)
    daemon.wait("READY=1")
    with pyproc.connect(daemon.path) as client:
        assert client.call("double", 4) == 8
        with pytest.raises(pyproc.AccessDenied):
            client.call("triple", 1)
        text = daemon.target.read_text()
        daemon.target.write_text(
            text + "\n@app.expose\ndef triple(x: int) -> int:\n    return 3 * x\n"
        )
        daemon.policy.write_text(policy('"double", "triple"'))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait("RELOADING=1")
        daemon.wait("READY=1")
        assert client.call("triple", 4) == 12
        daemon.policy.write_text("nonsense")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait("RELOADING=1")
        daemon.wait("READY=1")
        assert client.call("triple", 5) == 15
    assert daemon.stop() == 0


def test_a_daemon_that_is_killed_leaves_a_socket_that_the_next_one_replaces(
    daemons: list[Started], tmp_path: Path
) -> None:
    first = Started(tmp_path)
    daemons.append(first)
    first.wait("READY=1")
    with pyproc.connect(first.path) as client:
        assert client.call("double", 2) == 4
        first.process.kill()
        first.process.wait(60)
        with pytest.raises(pyproc.Disconnected):
            client.call("double", 2)
    assert first.path.exists()
    first.notes.close()
    (tmp_path / "notify").unlink()
    second = Started(tmp_path)
    daemons.append(second)
    second.wait("READY=1")
    with pyproc.connect(second.path) as client:
        assert client.call("double", 3) == 6
    assert second.stop() == 0


def test_a_socket_that_systemd_has_opened_is_served(tmp_path: Path) -> None:
    path = tmp_path / "given.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(8)
        code = (
            "import os, sys\n"
            f"os.dup2({listening.fileno()}, 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            f"sys.argv = ['x', {str(TARGET)!r}, '', '']\n"
            f"exec({PROGRAM!r})\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"serving\n"
            with pyproc.connect(path) as client:
                assert client.call("double", 6) == 12
                assert client.about()["server_pid"] == process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert process.stdout is not None
            process.stdout.close()
    assert path.exists()  # it is systemd's
