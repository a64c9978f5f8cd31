"""Thousands of clients that say nothing, say half, and come and go: memory is bounded, and others
are served."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import python_path

import pyproc
from pyproc.server import Server
from pyproc.serving import DESCRIPTORS_BESIDE, raise_descriptors, serve

ROOT = Path(__file__).resolve().parents[2]
TARGET = str(Path(__file__).resolve().parent / "apps" / "served.py")
#: What the server may keep for a client that has nothing under way.
BYTES_EACH = 8192

#: Holds connections of three kinds, and lets more come and go, until its stdin ends.
CROWD = """
import resource, socket, sys, threading
sys.path.insert(0, sys.argv[3])
from named import SERVER_HELLO, WELCOME, Raw, call, hello
path, n = sys.argv[1], int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(n + 200, hard), hard))
held = []
for at in range(n):
    raw = Raw(path)
    if at % 3 == 0:
        raw.greet()
    elif at % 3 == 1:
        raw.greet()
        raw.send(call(1, b"double", b"\\x91\\x02")[:9])
    held.append(raw)
print("there", flush=True)
leave = threading.Event()
def flood():
    while not leave.is_set():
        with Raw(path) as raw:
            raw.send(hello()[:7])
thread = threading.Thread(target=flood)
thread.start()
sys.stdin.read()
leave.set()
thread.join()
"""


@contextlib.contextmanager
def descriptors(wanted: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = raise_descriptors(wanted)
    if there < wanted:
        pytest.skip(f"this process may have {there} descriptors, {wanted} are needed (ulimit -Hn)")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "clients",
    [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_a_crowd_costs_little_memory_and_no_other_client(tmp_path: Path, clients: int) -> None:
    place = tmp_path / "run" / "s.sock"
    with (
        descriptors(clients + DESCRIPTORS_BESIDE),
        pyproc.Pool(TARGET, workers=1, sandbox="none") as pool,
        Server(pool, place, max_clients=clients + 100, handshake_timeout=600.0) as server,
        pyproc.connect(place) as client,
    ):
        assert client.call("double", 1) == 2
        before = resident()
        crowd = subprocess.Popen(
            [sys.executable, "-c", CROWD, str(place), str(clients), str(ROOT / "tests")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": python_path(ROOT)},
        )  # fmt: skip
        try:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"there\n"
            limit = time.monotonic() + 60
            while server.stats()["clients"] <= clients:  # the last ones are still to be accepted
                assert time.monotonic() < limit
                time.sleep(0.01)
            slowest = 0.0
            for number in range(300):
                begun = time.monotonic()
                assert client.call("double", number) == 2 * number
                slowest = max(slowest, time.monotonic() - begun)
            grown = resident() - before
        finally:
            crowd.communicate(timeout=120)
        assert crowd.returncode == 0
        assert server.stats()["held_bytes"] == 0
        assert grown < clients * BYTES_EACH + 16 * 2**20
        assert slowest < 10
        assert client.call("double", 21) == 42


def test_more_clients_than_descriptors_are_refused_at_the_start(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this process may have any number of descriptors")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with pytest.raises(ValueError, match="descriptors are needed"):
            serve(TARGET, socket=tmp_path / "run" / "s.sock", max_clients=hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not (tmp_path / "run").exists()
