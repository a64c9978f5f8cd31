"""`pyproc serve` reads its configuration, answers clients and ends with SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hosts import python_path

import pyproc
from pyproc.cli import main
from pyproc.control import ControlClient

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0
CONFIG = """
target = "served.py"
[pool]
workers = 1
[serve]
socket = "run/p.sock"
http = "unix:run/h.sock"
[control]
path = "run/c.sock"
[audit]
path = "a.jsonl"
"""


def test_the_daemon_serves_what_its_configuration_says(app: str, tmp_path: Path) -> None:
    (tmp_path / "pyproc.toml").write_text(CONFIG)
    (tmp_path / "run").mkdir(mode=0o700)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "pyproc", "serve", "--config", "pyproc.toml"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": python_path(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        limit = time.monotonic() + DEADLINE
        while not (tmp_path / "run" / "p.sock").exists():
            assert daemon.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        with pyproc.connect(tmp_path / "run" / "p.sock") as pool:
            assert pool.call("double", 21) == 42
        while not (tmp_path / "run" / "h.sock").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        with socket.socket(socket.AF_UNIX) as page:
            page.settimeout(DEADLINE)
            page.connect(str(tmp_path / "run" / "h.sock"))
            page.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
            assert page.recv(100).startswith(b"HTTP/1.1 200 OK")
        with ControlClient(tmp_path / "run" / "c.sock") as client:
            assert client.ask("ping")["pid"] == daemon.pid
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE) == 0
    finally:
        daemon.kill()
        daemon.communicate()
    assert '"event":"serve.start"' in (tmp_path / "a.jsonl").read_text()


def test_an_open_status_page_is_refused_before_anything_serves(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    place = ["--socket", str(tmp_path / "run" / "p.sock")]
    assert main(["serve", app, *place, "--http", "0.0.0.0:9180"]) == 2
    assert "set tls_cert and tls_key and token_file" in capsys.readouterr().err
    assert not (tmp_path / "run" / "p.sock").exists()


def test_wrong_settings_are_one_sentence(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", app, "--set", "serve.mode=rw"]) == 2
    assert "octal digits" in capsys.readouterr().err
    assert main(["serve", "--socket", "p.sock"]) == 2
    assert "'target' is missing" in capsys.readouterr().err
    assert main(["serve", app, "--set", "serve.sokcet=x"]) == 2
    assert "did you mean 'socket'?" in capsys.readouterr().err
