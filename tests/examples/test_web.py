"""The web examples, each under the server that it is made for."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hosts import descendants, python_path, wait_gone

ROOT = Path(__file__).resolve().parent.parent.parent
WEB = ROOT / "examples" / "web"
DEADLINE = 120.0
#: Takes longer than anybody waits.
SLOW = {"pattern": "(a+)+$", "text": "a" * 60 + "b"}


class Server:
    """A server program on a socket of a file."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.path = str(folder / "http")
        self.log = folder / "log"
        environment = os.environ | {
            "PYTHONPATH": python_path(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CELERY_FOLDER": str(folder / "celery"),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=WEB, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def connect(self) -> http.client.HTTPConnection:
        """A connection; waits for the server to listen."""
        connection = http.client.HTTPConnection("localhost")
        deadline = time.monotonic() + DEADLINE
        while True:
            connection.sock = socket.socket(socket.AF_UNIX)
            try:
                connection.sock.settimeout(DEADLINE)
                connection.sock.connect(self.path)
                return connection
            except OSError:
                connection.sock.close()
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    def ask(self, path: str, data: str | None = None, kind: str = "json") -> tuple[int, Any]:
        """A request's status and answer."""
        connection = self.connect()
        try:
            send(connection, path, data, kind)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self) -> None:
        """Ends it as its service manager does; nothing may be left."""
        family = descendants(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
        assert wait_gone(family) == set()


def send(
    connection: http.client.HTTPConnection, path: str, data: str | None, kind: str = "json"
) -> None:
    """Sends a request."""
    kinds = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
    headers = {} if data is None else {"Content-Type": kinds[kind]}
    connection.request("GET" if data is None else "POST", path, data, headers)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, and ends them."""
    servers: list[Server] = []

    def begin(*command: str) -> Server:
        servers.append(Server(tmp_path, *[part.format(folder=tmp_path) for part in command]))
        return servers[-1]

    yield begin
    for server in servers:
        server.end()


def until(check: Callable[[], bool], log: Path) -> None:
    """Waits for what must come."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def is_load(server: Server, running: int, waiting: int) -> bool:
    """Whether the pool is that busy."""
    return server.ask("/load") == (200, {"calls_running": running, "calls_waiting": waiting})


def test_fastapi_under_uvicorn(serve: Callable[..., Server]) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    server = serve("uvicorn", "--uds", "{folder}/http", "fastapi_app:app")
    good = json.dumps({"pattern": r"\d+", "text": "a1 b22"})
    assert server.ask("/find", good) == (200, ["1", "22"])

    # One runs, one waits: the third is refused.
    slow = [server.connect(), server.connect()]
    for number, connection in enumerate(slow):
        send(connection, "/find", json.dumps(SLOW))
        until(partial(is_load, server, 1, number), server.log)
    assert server.ask("/find", good) == (503, {"detail": "busy"})

    # The clients go away, and so does their work.
    for connection in slow:
        connection.close()
    until(partial(is_load, server, 0, 0), server.log)
    assert server.ask("/find", good) == (200, ["1", "22"])
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["prefork", "preload"])
def test_flask_under_gunicorn(serve: Callable[..., Server], preload: list[str]) -> None:
    pytest.importorskip("flask", reason="flask is not installed")
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    server = serve(
        "gunicorn", "-w", "2", "-b", "unix:{folder}/http", "--worker-tmp-dir", "{folder}",
        "--no-control-socket", "--timeout", "120", *preload, "flask_app:app",
    )  # fmt: skip
    seen: dict[int, int] = {}

    def both_answered() -> bool:
        status, answer = server.ask("/where")
        assert status == 200, server.log.read_text()
        assert seen.setdefault(answer["server"], answer["worker"]) == answer["worker"]
        return len(seen) == 2

    until(both_answered, server.log)
    assert len(set(seen.values())) == 2  # a pool each
    form = urllib.parse.urlencode({"pattern": r"\d+", "text": "a1 b22"})
    assert server.ask("/find", form, "form") == (200, ["1", "22"])
    assert server.ask("/crash", "", "form") == (500, {"detail": "WorkerCrashed"})
    assert server.ask("/find", form, "form") == (200, ["1", "22"])


TASKS = """
import celery_app
print(celery_app.find.delay("[0-9]+", "a1 b22").get(timeout=100))
print(celery_app.crash.delay().get(timeout=100))
print(celery_app.find.delay("[a-z]", "a1 b22").get(timeout=100))
celery_app.pool.close()
"""


def test_a_celery_prefork_worker(serve: Callable[..., Server], tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    server = serve(
        "celery", "-A", "celery_app", "worker", "--pool", "prefork", "-c", "1",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": python_path(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CELERY_FOLDER": str(tmp_path / "celery"),
    }
    done = subprocess.run(
        [sys.executable, "-c", TASKS], cwd=WEB, env=environment, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["['1', '22']", "WorkerCrashed", "['a', 'b']"], (
        done.stderr + server.log.read_text()
    )
