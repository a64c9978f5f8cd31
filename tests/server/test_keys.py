"""Who may connect: users, processes, and those who prove to hold a key."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from named import AUTHENTICATE, DENIED, SERVER_HELLO, Raw, field, frame, hello

import pyproc
from pyproc.server import Server

TARGET = str(Path(__file__).resolve().parent / "apps" / "served.py")
SECRET = bytes(range(32))


@pytest.fixture
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool(TARGET, workers=1) as pool:
        yield pool


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s.sock"


def key_file(folder: Path, name: str, secret: bytes = SECRET, mode: int = 0o600) -> Path:
    path = folder / f"{name}.key"
    path.write_bytes(secret)
    path.chmod(mode)
    return path


def test_both_ends_prove_to_hold_the_key(pool: pyproc.Pool, place: Path, tmp_path: Path) -> None:
    path = key_file(tmp_path, "ops")
    with Server(pool, place, keys={"ops": path}, require_key=True) as server:
        with pyproc.connect(place, key=path) as client:
            assert client.call("double", 4) == 8
        with pyproc.connect(place, token=SECRET, key_id="ops") as client:
            assert client.call("double", 5) == 10
        assert server.stats()["authenticated"] == 2


def test_who_has_no_key_or_another_one_is_turned_away(
    pool: pyproc.Pool, place: Path, tmp_path: Path
) -> None:
    with Server(pool, place, keys={"ops": SECRET}, require_key=True):
        with pytest.raises(pyproc.AccessDenied):
            pyproc.connect(place)
        # The server proves itself first: a client with another secret sends nothing more.
        with pytest.raises(pyproc.AuthenticationError, match="nothing was sent"):
            pyproc.connect(place, token=b"x" * 32, key_id="ops")
        with pytest.raises(pyproc.AuthenticationError):
            pyproc.connect(place, token=SECRET, key_id="another")


def test_guessing_is_slowed_down_and_told(pool: pyproc.Pool, place: Path) -> None:
    events: list[str] = []
    with Server(
        pool, place, keys={"ops": SECRET}, on_event=lambda name, _: events.append(name)
    ) as server:
        for _ in range(5):
            with Raw(place) as raw:
                raw.send(hello(b"ops"))
                assert raw.kind() == SERVER_HELLO
                raw.send(frame(AUTHENTICATE, field(1, b"p" * 32)))
                assert raw.kind() == DENIED
        with Raw(place) as raw:
            assert raw.kind() == 0  # closed before a word
        assert server.stats()["authentication_failed"] == 5
        until = time.monotonic() + 20
        while "connection.refused" not in events and time.monotonic() < until:
            time.sleep(0.01)
        assert events.count("authentication.failed") == 5


def test_a_proof_is_good_for_one_connection(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, keys={"ops": SECRET}), Raw(place) as one, Raw(place) as two:
        proofs = []
        for raw in (one, two):
            raw.send(hello(b"ops", nonce=b"s" * 32))
            found = raw.receive()
            assert found is not None
            proofs.append(found[1])
        assert proofs[0] != proofs[1]
        two.send(frame(AUTHENTICATE, field(1, proofs[1][-32:])))  # the server's own, sent back
        assert two.kind() == DENIED


def test_a_key_is_replaced_while_clients_come_and_go(pool: pyproc.Pool, place: Path) -> None:
    fresh = b"f" * 32
    with Server(pool, place, keys={"old": SECRET}, require_key=True) as server:
        client = pyproc.connect(place, token=SECRET, key_id="old")
        server.update(None, keys={"old": SECRET, "new": fresh})
        assert client.call("double", 1) == 2
        with pyproc.connect(place, token=fresh, key_id="new") as other:
            server.update(None, keys={"new": fresh})
            assert other.call("double", 1) == 2
            with pytest.raises((pyproc.Disconnected, pyproc.AuthenticationError)):
                client.call("double", 1)
        client.close()


@pytest.mark.parametrize("wrong", ["mode", "short", "link", "missing", "directory"])
def test_a_key_file_that_others_could_use_is_refused(
    pool: pyproc.Pool, place: Path, tmp_path: Path, wrong: str
) -> None:
    path = key_file(tmp_path, "k", b"s" * (8 if wrong == "short" else 32))
    if wrong == "mode":
        path.chmod(0o640)
    elif wrong == "link":
        path = tmp_path / "alias.key"
        path.symlink_to(tmp_path / "k.key")
    elif wrong == "missing":
        path = tmp_path / "none.key"
    elif wrong == "directory":
        path = tmp_path
    with pytest.raises((OSError, ValueError), match="key"):
        Server(pool, place, keys={"k": path})
    assert not place.exists()


def test_only_listed_users_and_processes_connect(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, allow_uids=[os.geteuid() + 1]), pytest.raises(pyproc.Disconnected):
        pyproc.connect(place)
    with Server(pool, place, allow_pids=[os.getpid()]):
        with pyproc.connect(place) as client:
            assert client.call("double", 2) == 4
        code = (
            "import sys, pyproc\n"
            "try: pyproc.connect(sys.argv[1])\n"
            "except pyproc.Disconnected: sys.exit(7)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(place)], timeout=60, check=False)
        assert done.returncode == 7


def test_a_client_may_say_whose_server_it_must_be(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place):
        with pytest.raises(OSError, match="served by uid"):
            pyproc.connect(place, server_uid=os.geteuid() + 1)
        pyproc.connect(place, server_uid=os.geteuid()).close()


def test_what_connect_cannot_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pyproc.connect(tmp_path / "none.sock")
    with pytest.raises(ValueError, match="32 bytes"):
        pyproc.connect(tmp_path / "s", token="short")
    with pytest.raises(ValueError, match="two ways"):
        pyproc.connect(tmp_path / "s", token=SECRET, key="x")
    with pytest.raises(ValueError, match="key_id"):
        pyproc.connect(tmp_path / "s", key_id="x")
