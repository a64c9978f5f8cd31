"""A pool behind a named socket: calls, their ends, and what a client is told of them."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc.server import Server

HERE = Path(__file__).resolve().parent
TARGET = str(HERE / "apps" / "served.py")


class Served:
    """A pool, its server and the events of its socket."""

    def __init__(self, pool: pyproc.Pool, path: Path, **options: Any) -> None:
        self.pool, self.path = pool, path
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.server = Server(
            pool, path, on_event=lambda name, fields: self.events.append((name, fields)), **options
        )

    def wait_for(self, name: str) -> dict[str, Any]:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for event, fields in self.events:
                if event == name:
                    return fields
            time.sleep(0.01)
        raise AssertionError(f"no event {name}: {self.events}")


@pytest.fixture
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool(TARGET, workers=2) as pool:
        yield pool


@pytest.fixture
def served(pool: pyproc.Pool, tmp_path: Path) -> Iterator[Served]:
    served = Served(pool, tmp_path / "run" / "docs.sock")
    try:
        yield served
    finally:
        served.server.close()


def test_the_socket_and_its_directory_are_their_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.path.parent.stat().st_mode) == 0o700


def test_a_client_calls_as_a_pool_is_called(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        assert client.call("double", 21) == 42
        assert client.call("echo", {"a": [1, b"x", None]}, tag="t") == [{"a": [1, b"x", None]}, "t"]
        assert client.call("echo", (1, 2)) == (1, 2)
        futures = [client.submit("double", n) for n in range(200)]
        assert [future.result(timeout=30) for future in futures] == [2 * n for n in range(200)]
        assert list(client.map("double", range(300))) == [2 * n for n in range(300)]
        assert set(client.functions()) >= {"double", "echo"}


def test_a_client_awaits_calls(served: Served) -> None:
    async def run() -> list[int]:
        async with pyproc.connect(served.path) as client:
            some = await asyncio.gather(*(client.acall("double", n) for n in range(20)))
            return [*some, *[value async for value in client.amap("double", range(5))]]

    assert asyncio.run(run()) == [2 * n for n in range(20)] + [0, 2, 4, 6, 8]


def test_a_failure_tells_a_client_its_type_and_an_id_only(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        with pytest.raises(ValueError, match="correlation id") as caught:
            client.call("secret", "/etc/shadow")
        assert "shadow" not in repr(caught.value)
        assert "served.py" not in "".join(getattr(caught.value, "__notes__", []))
    told = served.wait_for("call.failed")
    assert told["message"] == "cannot read /etc/shadow"
    assert told["correlation"] in str(caught.value)
    assert "served.py" in told["traceback"]


def test_a_server_that_may_show_everything_does(pool: pyproc.Pool, tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    with Server(pool, path, errors="full"), pyproc.connect(path) as client:
        with pytest.raises(ValueError, match="cannot read /etc/shadow"):
            client.call("secret", "/etc/shadow")
        with pytest.raises(pyproc.WorkerCrashed) as caught:
            client.call("crash")
        assert caught.value.python_stack is not None
        assert "crash" in caught.value.python_stack
        answers = list(client.map("double", [1, 2, "x", 4], return_exceptions=True))
        assert answers[:2] == [2, 4]
        assert answers[3] == 8
        assert isinstance(answers[2], pyproc.ValidationError)


def test_a_crash_costs_its_client_one_call(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        with pytest.raises(pyproc.WorkerCrashed) as caught:
            client.call("crash")
        assert caught.value.signal == signal.SIGSEGV
        assert caught.value.python_stack is None
        assert client.call("double", 1) == 2


def test_what_a_function_may_not_get_stops_at_the_edge_or_the_worker(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        with pytest.raises(pyproc.ValidationError) as caught:
            client.call("double", "no number")
        assert caught.value.path == "argument 'x'"
        with pytest.raises(pyproc.AccessDenied):
            client.call("no_such_function")
        with open(__file__, "rb") as file, pytest.raises(pyproc.RequestRefused, match="files"):
            client.call("echo", file)


def test_a_time_limit_ends_the_call_at_the_server(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        begun = time.monotonic()
        with pytest.raises(pyproc.TaskTimeout):
            client.options(timeout=0.3).call("sleep", 60)
        with pytest.raises(pyproc.TaskTimeout):
            client.options(deadline=time.monotonic() + 0.3).call("sleep", 60)
        assert time.monotonic() - begun < 30


def test_a_call_is_cancelled_before_it_starts_and_killed_after(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        running = [client.submit("sleep", 60) for _ in range(2)]
        waiting = [client.submit("sleep", 60) for _ in range(100)]
        assert waiting[-1].cancel()
        assert waiting[30].cancel()
        assert not running[0].cancel()
        assert all(future.kill() for future in running)
        for future in running:
            with pytest.raises(pyproc.TaskKilled):
                future.result(timeout=30)
        for future in waiting:
            future.kill()
        assert client.call("double", 3) == 6


def test_a_client_that_leaves_stops_its_work(served: Served) -> None:
    client = pyproc.connect(served.path)
    future = client.submit("sleep", 60)
    until = time.monotonic() + 20
    while served.server.stats()["calls_running"] == 0 and time.monotonic() < until:
        time.sleep(0.01)
    client.close(0)
    with pytest.raises(pyproc.PoolClosed):
        future.result(timeout=20)
    while served.server.stats()["calls_running"] and time.monotonic() < until:
        time.sleep(0.01)
    assert served.server.stats()["calls_running"] == 0


def test_many_threads_share_one_client(served: Served) -> None:
    wrong: list[object] = []

    def work(base: int, client: pyproc.Client) -> None:
        for n in range(base, base + 100):
            if client.call("double", n) != 2 * n or client.submit("double", n).result(30) != 2 * n:
                wrong.append(n)

    with pyproc.connect(served.path) as client:
        threads = [threading.Thread(target=work, args=(1000 * n, client)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not wrong


def test_a_client_connects_again_after_its_server_came_back(
    pool: pyproc.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "s.sock"
    first = Server(pool, path)
    with pyproc.connect(path) as client:
        assert client.call("double", 1) == 2
        first.close()
        with pytest.raises(pyproc.Disconnected):
            client.call("double", 2)
        with Server(pool, path):
            until = time.monotonic() + 20
            while True:
                try:
                    assert client.call("double", 3) == 6
                    break
                except pyproc.Disconnected:
                    assert time.monotonic() < until


def test_a_drained_server_ends_what_it_has_and_takes_no_more(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        future = client.submit("sleep", 0.5)
        until = time.monotonic() + 20
        while served.server.stats()["calls_running"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert served.server.drain(30)
        assert future.result(timeout=20) == 0.5
        with pytest.raises(pyproc.PoolClosed):
            client.call("double", 1)
        assert not served.path.exists()


def test_one_socket_has_one_server(served: Served) -> None:
    with pytest.raises(OSError, match="another instance"):
        Server(served.pool, served.path)
    with pyproc.connect(served.path) as client:
        assert client.call("double", 1) == 2


def test_a_socket_that_was_left_behind_is_replaced(pool: pyproc.Pool, tmp_path: Path) -> None:
    import socket

    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "s.sock"))
    with Server(pool, folder / "s.sock"), pyproc.connect(folder / "s.sock") as client:
        assert client.call("double", 1) == 2


@pytest.mark.parametrize("kind", ["open directory", "link", "file", "linked directory"])
def test_an_unsafe_place_is_refused(pool: pyproc.Pool, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    path = folder / "s.sock"
    if kind == "open directory":
        folder.chmod(0o777)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        path.write_text("")
    else:
        (tmp_path / "alias").symlink_to(folder)
        path = tmp_path / "alias" / "s.sock"
    before = sorted(os.listdir(folder))
    with pytest.raises(OSError, match="serve|directory|link"):
        Server(pool, path)
    assert [name for name in sorted(os.listdir(folder)) if not name.endswith(".lock")] == before


def test_a_client_is_dead_in_a_forked_child(served: Served) -> None:
    with pyproc.connect(served.path) as client:
        pid = os.fork()
        if pid == 0:
            try:
                client.call("double", 1)
            except pyproc.PoolClosed:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert client.call("double", 5) == 10


def test_mode_owner_and_group_are_configurable(pool: pyproc.Pool, tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    with Server(pool, path, mode="0660", owner=os.geteuid(), group=os.getegid()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with Server(pool, path, mode=0o640):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for wrong in ({"mode": "rw"}, {"mode": 0o1777}, {"owner": "no such user"}, {"max_clients": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Server(pool, path, **wrong)
