"""The control socket answers its owner, refuses others, and does what a pool's methods do."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool, WorkerKilled
from pyproc.access import parse
from pyproc.control import ControlClient, ControlError, ControlServer

DEADLINE = 30.0


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A path in a directory that does not exist yet."""
    return str(tmp_path / "run" / "p.sock")


@pytest.fixture
def pool(app: str, place: str) -> Iterator[Pool]:
    """A pool with a control socket and an audit log."""
    with Pool(app, max_workers=2, control=place, audit="a.jsonl") as opened:
        yield opened


def test_the_socket_is_private_and_goes_with_the_pool(app: str, place: str) -> None:
    with Pool(app, workers=1, control=place):
        assert os.stat(place).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(place)).st_mode & 0o777 == 0o700
    assert not os.path.exists(place)


def test_what_a_pool_tells_can_be_asked_for(pool: Pool, place: str) -> None:
    pool.call("double", 1)
    with ControlClient(place) as client:
        assert client.ask("ping")["pid"] == os.getpid()
        assert client.ask("ps")[0]["pid"] == pool.workers()[0].pid
        assert client.ask("stats")["calls_ok"] == 1
        assert client.ask("functions")["double"] == "(n: int) -> int"
        assert client.ask("health")["status"] == "ok"
        top = client.ask("top")
        assert {"workers", "stats", "health", "events"} <= set(top)
        assert client.ask("events", limit=1)[0]["kind"] == "ready"


def test_a_pool_can_be_changed_and_each_change_is_in_the_log(pool: Pool, place: str) -> None:
    with ControlClient(place) as client:
        assert client.ask("isolate", function="double") == ["double"]
        assert pool.isolated() == ["double"]
        client.ask("release", function="double")
        assert client.ask("resize", max_workers=3) == {"min_workers": 1, "max_workers": 3}
        assert client.ask("reload", timeout=DEADLINE)["generation"] == 2
        assert client.ask("drain", timeout=DEADLINE) is True
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    used = [line["action"] for line in lines if line["event"] == "control.command"]
    assert used == ["isolate", "release", "resize", "reload", "drain"]


def test_a_worker_can_be_killed_by_its_number(pool: Pool, place: str) -> None:
    future = pool.submit("nap", DEADLINE)
    wait_for(lambda: any(worker.state == "busy" for worker in pool.workers()))
    worker = next(worker.id for worker in pool.workers() if worker.state == "busy")
    with ControlClient(place) as client:
        client.ask("kill", worker=worker)
        with pytest.raises(WorkerKilled):
            future.result(DEADLINE)
        with pytest.raises(ControlError, match="there is no worker 999") as caught:
            client.ask("kill", worker=999)
    assert caught.value.code == "invalid"


def wait_for(condition: Callable[[], object]) -> None:
    """Waits for what another thread does."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{}\n", "invalid"), (b"[1]\n", "invalid"), (b"\xff\n", "invalid"), (b"\n", "invalid"),
        (b'{"command": 1}\n', "invalid"), (b'{"command": "ps", "arguments": []}\n', "invalid"),
        (b'{"command": "nothing"}\n', "unknown"), (b'{"command": "_pool"}\n', "unknown"),
        (b'{"command": "ps", "arguments": {"x": 1}}\n', "invalid"),
        (b"[" * 30000 + b"\n", "invalid"),
        (b'{"command": "resize", "arguments": {"max_workers": -1}}\n', "invalid"),
    ],
)  # fmt: skip
def test_nonsense_is_answered_and_the_next_command_works(
    pool: Pool, place: str, line: bytes, code: str
) -> None:
    with socket.socket(socket.AF_UNIX) as raw, raw.makefile("rb") as lines:
        raw.settimeout(DEADLINE)
        raw.connect(place)
        raw.sendall(line)
        answer = json.loads(lines.readline())
        assert (answer["ok"], answer["code"]) == (False, code)
        raw.sendall(b'{"command": "ping"}\n')
        assert json.loads(lines.readline())["ok"] is True


def test_a_line_without_end_ends_its_connection_only(pool: Pool, place: str) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(DEADLINE)
        raw.connect(place)
        try:
            raw.sendall(b"x" * 200_000)
            assert raw.recv(1) == b""
        except (ConnectionResetError, BrokenPipeError):
            pass
    with ControlClient(place) as client:
        assert client.ask("ping")


def test_silent_connections_keep_nobody_out_and_close_with_the_pool(app: str, place: str) -> None:
    with Pool(app, workers=1, control=place):
        held = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for one in held:
            one.connect(place)
        held.pop(0).close()
        wait_for(lambda: _answers(place))
    for one in held:
        one.close()


def _answers(place: str) -> bool:
    try:
        with ControlClient(place) as client:
            return bool(client.ask("ping"))
    except ControlError:
        return False


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_can_enter_is_refused(app: str, tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(ValueError, match="with mode 0700 is needed"):
        Pool(app, workers=1, control=tmp_path / "open" / "p.sock")


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(app: str, place: str) -> None:
    os.mkdir(os.path.dirname(place), 0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(place)
    with Pool(app, workers=1, control=place):
        with pytest.raises(ValueError, match="another pool listens there"):
            Pool(app, workers=1, control=place)
        with ControlClient(place) as client:
            assert client.ask("ping")
    Path(place).write_text("not a socket")
    with pytest.raises(ValueError, match="no socket"):
        Pool(app, workers=1, control=place)


def test_a_path_that_no_socket_can_have_is_refused(app: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 107 bytes"):
        Pool(app, workers=1, control=tmp_path / ("x" * 120))


def test_a_policy_gives_each_role_its_commands(app: str, place: str) -> None:
    policy = parse(
        f"version = 1\n[roles.watch]\nfunctions = []\ncontrol = ['ps']\n"
        f"[[bindings]]\nrole = 'watch'\nuid = {os.getuid()}\n"
    )
    told: list[dict[str, Any]] = []
    with Pool(app, workers=1) as pool:
        server = ControlServer(
            place, pool, lambda event, **fields: told.append({"event": event} | fields),
            lambda: policy,
        )  # fmt: skip
        try:
            if os.getuid() == 0:
                assert server._may("drain", 0, 0)  # root may everything
                assert server._may("drain", 4, 4) is False
                return
            with ControlClient(place) as client:
                assert client.ask("ps")
                with pytest.raises(ControlError, match="you may not use 'drain'"):
                    client.ask("drain")
            assert told == [{"event": "access.denied", "uid": os.getuid(),
                             "peer_pid": os.getpid(), "action": "drain"}]  # fmt: skip
        finally:
            server.close()


def test_a_missing_socket_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="there is no control socket") as caught:
        ControlClient(tmp_path / "nothing.sock")
    assert caught.value.code == "unreachable"


def test_a_forked_child_does_not_keep_the_socket_open(app: str, place: str) -> None:
    with Pool(app, workers=1, control=place):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        os.close(read_end)
    with pytest.raises(ControlError):
        ControlClient(place)
    with socket.socket(socket.AF_UNIX) as again:
        again.bind(place)
    os.close(write_end)
    os.waitpid(pid, 0)
    assert threading.active_count() >= 1


def test_a_policy_says_which_commands_whom(app: str, place: str, tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        'version = 1\n[roles.looker]\nfunctions = []\ncontrol = ["ping", "ps"]\n'
        f'[[bindings]]\nrole = "looker"\nuid = {os.geteuid()}\n'
    )
    with (
        Pool(app, workers=1, control=place, control_policy=rules) as pool,
        ControlClient(place) as client,
    ):
        assert client.ask("ps")[0]["pid"] == pool.workers()[0].pid
        if os.geteuid() == 0:  # root may do all, here as anywhere
            assert client.ask("isolate", function="double") == ["double"]
        else:
            with pytest.raises(ControlError):
                client.ask("isolate", function="double")
            assert pool.call("double", 2) == 4


def test_a_policy_for_no_control_socket_is_refused(app: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="control_policy="):
        Pool(app, workers=1, control_policy=tmp_path / "policy.toml")
