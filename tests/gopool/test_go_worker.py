"""A worker of the Go project's pool, spoken to as that pool speaks."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gopool.client import DEADLINE, DOCS, Client, Started

Start = Callable[..., Started]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="go-") as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts workers, and ends them with the test."""
    started = []

    def begin(command: list[str] | None = None, **environment: str) -> Started:
        started.append(Started(folder / "s-0", environment, command))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture
def client(start: Start) -> Iterator[Client]:
    with start().connect() as connection:
        yield connection


def test_a_request_is_answered_with_its_own_id(client: Client) -> None:
    assert client.call(7, "predict", {"value": 21}) == {
        "id": 7, "ok": True, "body": {"result": 42}
    }  # fmt: skip


def test_health_is_built_in(client: Client) -> None:
    answer = client.call(0, "health")
    assert answer["body"]["status"] == "healthy"
    assert answer["body"]["pid"] == client.call(1, "pid")["body"]


@pytest.mark.parametrize(
    ("method", "body", "text"),
    [
        ("nope", None, "Method 'nope' not found"),
        ("raises", 5, "no good: 5"),
        ("leaves", None, "3"),
        ("add", {"a": "x"}, "argument 'a'"),
        ("add", [1, 2], "must be an object"),
        ("add", {"c": 2}, "unexpected keyword argument 'c'"),
        ("until_cancelled", None, None),
        ("odd", "object", "cannot be sent"),
        ("odd", "large", "at most"),
        ("odd", "surrogate", ""),
    ],
)
def test_what_fails_is_answered_and_the_connection_goes_on(
    client: Client, method: str, body: Any, text: str | None
) -> None:
    if text is not None:
        answer = client.call(3, method, body)
        assert answer["id"] == 3
        assert answer["ok"] is False
        assert text in answer["error"]
    assert client.call(4, "predict", {"value": 1})["body"] == {"result": 2}


@pytest.mark.parametrize("payload", [b"{", b"[]", b'{"id":-1,"method":"x"}', b'{"id":1}', b"\xff"])
def test_a_request_that_is_none_is_answered_with_an_error(client: Client, payload: bytes) -> None:
    client.send(payload)
    assert client.answer()["ok"] is False
    assert client.call(1, "predict", {"value": 1})["ok"] is True


def test_fields_of_the_body_are_a_functions_parameters(client: Client) -> None:
    assert client.call(1, "add", {"a": 2, "b": 5})["body"] == 7
    assert client.call(1, "add", {"a": 2})["body"] == 3


def test_values_that_json_lacks_arrive_as_go_reads_them(client: Client) -> None:
    assert client.call(1, "odd", "bytes")["body"] == "AP8="
    assert client.call(1, "odd", "set")["body"] == [1]
    assert client.call(1, "odd", "nan")["body"] is None
    assert client.call(1, "later", {"deep": [1]})["body"] == {"deep": [1]}


def test_a_connection_that_says_nothing_costs_nothing(start: Start) -> None:
    worker = start()
    for _ in range(5):
        worker.connect().socket.close()
    with worker.connect() as silent, worker.connect() as other:
        assert other.call(1, "predict", {"value": 1})["ok"] is True
        assert silent.call(1, "predict", {"value": 2})["ok"] is True


def test_all_connections_are_served_at_the_same_time(start: Start) -> None:
    worker = start()
    clients = [worker.connect() for _ in range(20)]
    for one in clients[1:]:
        one.ask(1, "wait")
    assert clients[0].call(1, "release")["ok"] is True
    assert [one.answer()["body"] for one in clients[1:]] == [True] * 19
    for one in clients:
        one.socket.close()


def test_a_cancellation_reaches_the_running_function(client: Client) -> None:
    client.ask(9, "until_cancelled")
    client.cancel(8)  # another one's
    client.cancel(9)
    assert client.answer() == {"id": 9, "ok": True, "body": True}
    assert client.call(10, "predict", {"value": 1})["ok"] is True


def test_a_closed_connection_cancels_what_runs_on_it(start: Start) -> None:
    worker = start()
    with worker.connect() as gone:
        gone.ask(5, "polls")
    with worker.connect() as other:
        assert other.call(1, "was_cancelled")["body"] is True


def test_enhanced_frames_are_answered_as_they_are_done(client: Client) -> None:
    client.ask_enhanced(2**63, "wait", None)
    client.ask_enhanced(1, "predict", {"value": 3})
    assert client.answer_enhanced()[0] == 1
    client.ask_enhanced(2, "release", None)
    assert {client.answer_enhanced()[0] for _ in range(2)} == {2, 2**63}


@pytest.mark.parametrize("kind", ["checksum", "length", "short"])
def test_a_broken_frame_ends_its_connection_alone(start: Start, kind: str) -> None:
    worker = start()
    with worker.connect() as bad, worker.connect() as good:
        if kind == "checksum":
            bad.ask_enhanced(1, "predict", {"value": 1}, spoil=1)
        elif kind == "length":
            bad.socket.sendall((11 * 1024 * 1024).to_bytes(4, "big"))
            bad.socket.sendall(b"x" * 100)
        else:
            bad.socket.sendall(b"PY" + (3).to_bytes(4, "big") + bytes(12))
        assert bad.answer()["ok"] is False
        with pytest.raises((EOFError, ConnectionError)):
            bad.exactly(1)
        assert good.call(1, "predict", {"value": 1})["ok"] is True


@pytest.mark.parametrize("codec", ["auto", "json", "orjson", "msgspec"])
def test_each_codec_of_json_answers_alike(start: Start, codec: str) -> None:
    with start(PYPROC_CODEC_TYPE=codec).connect() as client:
        assert client.call(1, "predict", {"value": 1.5})["body"] == {"result": 3.0}
        assert client.call(1, "odd", "bytes")["body"] == "AP8="
        assert client.call(1, "odd", "nan").get("body") is None


def test_messagepack_is_a_codec_too(start: Start) -> None:
    import msgpack  # type: ignore[import-untyped]

    with start(PYPROC_CODEC_TYPE="msgpack").connect() as client:
        client.send(msgpack.packb({"id": 1, "method": "predict", "body": {"value": 4}}))
        answer = msgpack.unpackb(client.receive())
    assert answer == {"id": 1, "ok": True, "body": {"result": 8}}


@pytest.mark.parametrize("secret", ["words", "ab" * 32])
def test_a_client_has_to_know_the_secret(start: Start, folder: Path, secret: str) -> None:
    key = hashlib.sha256(b"words").digest() if secret == "words" else bytes.fromhex(secret)
    file = folder / "secret"
    file.touch(0o600)
    file.write_text(secret + "\n")
    worker = start(PYPROC_HMAC_SECRET_FILE=str(file))
    with worker.connect() as client:
        assert client.prove(key) == 1
        assert client.call(1, "predict", {"value": 1})["ok"] is True
    with worker.connect() as stranger:
        assert stranger.prove(bytes(32)) == 0
        with pytest.raises(EOFError):
            stranger.exactly(1)


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"PYPROC_CODEC_TYPE": "xml"}, "PYPROC_CODEC_TYPE='xml'"),
        ({"PYPROC_CONCURRENCY": "many"}, "PYPROC_CONCURRENCY='many'"),
        ({"PYPROC_HMAC_SECRET": ""}, "the secret is empty"),
        ({"PYPROC_HMAC_SECRET": "a", "PYPROC_HMAC_SECRET_FILE": "b"}, "both set"),
        ({"PYPROC_HMAC_SECRET_FILE": "/nowhere/at/all"}, "No such file"),
        ({"PYPROC_HMAC_SECRET_FILE": __file__}, "may be read by others"),
        ({"PYPROC_SOCKET_PATH": "/tmp/" + "x" * 120}, "longer than 107 bytes"),
        ({"PYPROC_SOCKET_PATH": ""}, "PYPROC_SOCKET_PATH"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_bound(
    start: Start, folder: Path, environment: dict[str, str], text: str
) -> None:
    worker = start(**environment)
    assert text in worker.said()
    assert worker.process.returncode != 0
    assert list(folder.iterdir()) == []


def test_the_socket_is_its_owners_alone_and_replaces_a_stale_one(
    start: Start, folder: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "s-0"))
    with start().connect() as client:
        assert client.call(1, "health")["ok"] is True
    assert stat.S_IMODE((folder / "s-0").stat().st_mode) == 0o600


def test_a_file_in_the_sockets_place_is_left_alone(start: Start, folder: Path) -> None:
    (folder / "s-0").write_text("mine")
    assert "is no socket" in start().said()
    assert (folder / "s-0").read_text() == "mine"


def test_a_second_worker_does_not_take_a_socket_that_is_served(start: Start) -> None:
    first = start()
    with first.connect() as client:
        assert "another process serves it" in start().said()
        assert client.call(1, "health")["ok"] is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_whose_function_runs_leaves_at_once_when_told(
    start: Start, number: signal.Signals
) -> None:
    worker = start()
    with worker.connect() as client:
        client.ask(1, "wait")
        worker.process.send_signal(number)
        assert worker.process.wait(DEADLINE) == 0


def test_a_worker_goes_with_its_host_however_that_ends(folder: Path) -> None:
    path = folder / "s-0"
    script = f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, {str(DOCS)!r}], stderr=subprocess.DEVNULL,
                                 env={{**os.environ, "PYPROC_SOCKET_PATH": {str(path)!r}}})
        print(child.pid, flush=True)
        time.sleep(300)
    """
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        worker = os.pidfd_open(int(host.stdout.readline()))
        limit = time.monotonic() + DEADLINE
        while not path.exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        host.kill()
        host.wait(DEADLINE)
        import select

        poll = select.poll()
        poll.register(worker, select.POLLIN)
        assert poll.poll(1000 * DEADLINE)
        os.close(worker)
    finally:
        host.kill()
        host.communicate()


def test_a_script_can_be_named_on_the_command_line(start: Start) -> None:
    with start([sys.executable, "-m", "pyproc", "worker", str(DOCS)]).connect() as client:
        assert client.call(1, "predict", {"value": 2})["body"] == {"result": 4}


def test_concurrency_bounds_how_many_functions_run_at_once(start: Start) -> None:
    worker = start(PYPROC_CONCURRENCY="1")
    with worker.connect() as first, worker.connect() as second:
        first.ask(1, "until_cancelled")
        second.ask(2, "predict", {"value": 1})
        second.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.receive()
        second.socket.settimeout(DEADLINE)
        first.cancel(1)
        assert first.answer()["ok"] is True
        assert second.answer()["body"] == {"result": 2}
