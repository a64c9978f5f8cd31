"""Clients that lie, stall, flood and leave: they are dropped, and nobody else is harmed."""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from named import (
    CALL,
    CALL_END,
    DENIED,
    RESULT,
    STREAM_CREDIT,
    STREAM_END,
    STREAM_ITEM,
    Raw,
    call,
    field,
    frame,
    hello,
)

import pyproc
from pyproc.server import Server

TARGET = str(Path(__file__).resolve().parent / "apps" / "served.py")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s.sock"


@pytest.fixture
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool(TARGET, workers=2) as pool:
        yield pool


def wait_until(what: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.01)


DEEP = b"\x91" * 200 + b"\xc0"
BAD_PAYLOADS = {
    "empty": b"",
    "no array": b"\xc0",
    "cut": b"\x92\x01",
    "more": b"\x90\x01",
    "claims": b"\xdd\xff\xff\xff\xff",
    "nested claims": b"\x91" * 5 + b"\xdd\x00\x01\x00\x00",
    "deep": DEEP,
    "not utf-8": b"\x91\xa2\xff\xfe",
    "surrogate": b"\x91\xa3\xed\xa0\x80",
    "extension": b"\x91\xd4\x05\x00",
    "reserved": b"\x91\xc1",
}


@pytest.mark.parametrize("kind", BAD_PAYLOADS)
def test_arguments_that_make_no_sense_stop_before_a_worker(
    pool: pyproc.Pool, place: Path, kind: str
) -> None:
    with Server(pool, place) as server, Raw(place) as raw:
        raw.greet()
        before = pool.stats()["calls_admitted"]
        raw.send(call(1, b"double", BAD_PAYLOADS[kind]))
        assert raw.kind() == CALL_END
        raw.send(call(2, b"double", b"\x91\x02"))
        assert raw.kind() == RESULT
        assert pool.stats()["calls_admitted"] == before + 1
        assert server.stats()["invalid"] == 1


BAD_FRAMES = {
    "too long": struct.pack(">I", 0x7FFFFFFF) + b"x" * 64,
    "empty": struct.pack(">I", 0),
    "garbage": struct.pack(">I", 5) + b"\xff\xff\xff\xff\xff",
    "json": struct.pack(">I", 2) + b"{}",
    "not a client's": frame(2, b""),
    "second hello": hello(),
    "id 0": call(0, b"double"),
    "pickle": call(1, b"double", b"\x80\x04N.", codec=3),
    "options alone": frame(26, b"\x09" + struct.pack("<Q", 9)) * 2,
    "attachments": frame(CALL, b"\x09" + struct.pack("<Q", 1) + field(4, 1) + field(9, 200)),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_frames_that_break_the_protocol_end_their_connection_only(
    pool: pyproc.Pool, place: Path, kind: str
) -> None:
    with Server(pool, place), pyproc.connect(place) as client, Raw(place) as raw:
        raw.greet()
        raw.send(BAD_FRAMES[kind])
        assert raw.kind() in ((CALL_END,) if kind == "pickle" else (DENIED,))
        assert client.call("double", 3) == 6


def test_a_descriptor_that_nobody_asked_for_ends_the_connection(
    pool: pyproc.Pool, place: Path
) -> None:
    with Server(pool, place), Raw(place) as raw:
        raw.greet()
        before = len(os.listdir("/proc/self/fd"))
        with open("/dev/null", "rb") as file:
            socket.send_fds(raw.socket, [call(1, b"double", b"\x91\x01")], [file.fileno()])
        assert raw.kind() == DENIED
        assert len(os.listdir("/proc/self/fd")) <= before


def test_whoever_says_nothing_or_half_is_dropped(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, handshake_timeout=0.5) as server:
        silent, half = Raw(place), Raw(place)
        half.send(hello()[:10])
        wait_until(lambda: server.stats()["clients_dropped"] == 2)
        assert silent.kind() == 0
        silent.close()
        half.close()


def test_an_idle_client_is_dropped_when_asked_for(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, idle_timeout=0.3) as server, Raw(place) as raw:
        raw.greet()
        assert raw.kind() == 0
        wait_until(lambda: server.stats()["clients_dropped"] == 1)


def test_who_does_not_read_is_not_answered_into_memory(pool: pyproc.Pool, place: Path) -> None:
    """Its calls stop when a megabyte of answers waits, and others go on."""
    with Server(pool, place) as server, pyproc.connect(place) as client, Raw(place) as raw:
        raw.greet()
        big = b"\x91\xc6" + struct.pack(">I", 300_000) + b"x" * 300_000
        raw.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            for number in range(1, 1000):
                raw.send(call(number, b"echo", big))
        assert client.call("double", 4) == 8
        assert server.stats()["calls"] < 200
        assert server.stats()["held_bytes"] < 64 * 2**20


def test_a_flood_of_calls_delays_another_client_by_a_few_only(
    pool: pyproc.Pool, place: Path
) -> None:
    with Server(pool, place), Raw(place) as raw, pyproc.connect(place) as client:
        raw.greet()
        for number in range(1, 65):
            raw.send(call(number, b"sleep", b"\x91\xcb" + struct.pack(">d", 0.05)))
        begun = time.monotonic()
        assert client.call("double", 5) == 10
        # 64 calls of 50 ms on two workers take 1.6 s; its turn comes after those under way.
        assert time.monotonic() - begun < 1.2
        assert [raw.kind() for _ in range(64)] == [RESULT] * 64


def test_clients_have_equal_turns(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, max_in_flight=32):
        clients = [Raw(place) for _ in range(8)]
        done = [0] * len(clients)
        for raw in clients:
            raw.greet()
        stop = time.monotonic() + 2

        def run(at: int) -> None:
            # The first half has 32 calls under way each, the others 16: turns are what counts.
            width = 32 if at < 4 else 16
            number = 0
            for _ in range(width):
                number += 1
                clients[at].send(call(number, b"sleep", b"\x91\xcb" + struct.pack(">d", 0.002)))
            while time.monotonic() < stop:
                assert clients[at].kind() == RESULT
                done[at] += 1
                number += 1
                clients[at].send(call(number, b"sleep", b"\x91\xcb" + struct.pack(">d", 0.002)))

        threads = [threading.Thread(target=run, args=(at,)) for at in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for raw in clients:
            raw.close()
    assert min(done) > 20
    assert max(done) <= 1.3 * min(done) + 5


def test_clients_beyond_the_most_are_turned_away(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place, max_clients=3) as server:
        held = [Raw(place) for _ in range(3)]
        for raw in held:
            raw.greet()
        with Raw(place) as late:
            assert late.kind() == 0
        held.pop().close()
        wait_until(lambda: server.stats()["clients"] == 2)
        with Raw(place) as late:
            late.greet()
        for raw in held:
            raw.close()


def test_a_server_out_of_descriptors_goes_on_when_there_are_some(
    pool: pyproc.Pool, place: Path
) -> None:
    with Server(pool, place) as server, pyproc.connect(place) as client:
        assert client.call("double", 1) == 2
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        late = socket.socket(socket.AF_UNIX)
        late.settimeout(30)
        used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
        fill = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
            while True:
                try:
                    fill.append(os.dup(0))
                except OSError:
                    break
            late.connect(str(place))
            wait_until(lambda: server.stats()["accept_errors"] > 0)
            assert client.call("double", 2) == 4
        finally:
            for fd in fill:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        late.sendall(hello())
        assert len(late.recv(4)) == 4
        late.close()


@pytest.mark.timeout(120)
def test_mutated_frames_harm_nobody(pool: pyproc.Pool, place: Path) -> None:
    seed = random.Random(7)
    good = [hello(), call(1, b"double", b"\x91\x02"), call(2, b"echo", b"\x91\xa3abc"),
            frame(26, b"\x09" + struct.pack("<Q", 3)), frame(27, b"\x09" + struct.pack("<Q", 2)),
            frame(9, field(1, 5)), frame(11, b"")]  # fmt: skip
    with Server(pool, place) as server, pyproc.connect(place) as client:
        for round_ in range(300):
            with Raw(place) as raw:
                if round_ % 2:
                    raw.greet()
                data = bytearray(b"".join(seed.choices(good, k=4)))
                for _ in range(seed.randrange(1, 6)):
                    data[seed.randrange(len(data))] = seed.randrange(256)
                try:
                    raw.send(bytes(data))
                except (BrokenPipeError, ConnectionResetError):
                    continue
        assert client.call("double", 8) == 16
        wait_until(lambda: server.stats()["clients"] == 1)
        wait_until(lambda: server.stats()["calls_running"] == 0)
        assert server.stats()["held_bytes"] == 0


STREAM = b"\x09" + struct.pack("<Q", 7) + field(2, b"numbers") + field(3, b"\x91\x09") + field(4, 1)


@pytest.mark.parametrize("ahead", [(1, 1 << 30), (1 << 63, 1 << 62)])
def test_a_stream_whose_credit_is_out_of_range_is_refused(
    pool: pyproc.Pool, place: Path, ahead: tuple[int, int]
) -> None:
    with Server(pool, place), Raw(place) as raw:
        raw.greet()
        raw.send(frame(CALL, STREAM + field(10, ahead[0]) + field(11, ahead[1])))
        assert raw.kind() == CALL_END
        raw.send(frame(CALL, STREAM + field(10, 1) + field(11, 1)))
        assert raw.kind() == STREAM_ITEM
        number = b"\x09" + struct.pack("<Q", 7)
        raw.send(frame(STREAM_CREDIT, number + field(2, ahead[0]) + field(3, ahead[1])))
        assert raw.kind() == DENIED
        assert raw.kind() == 0


def test_words_about_streams_that_there_are_not_do_nothing(pool: pyproc.Pool, place: Path) -> None:
    with Server(pool, place), Raw(place) as raw:
        raw.greet()
        number = b"\x09" + struct.pack("<Q", 99)
        raw.send(frame(STREAM_CREDIT, number + field(2, 9) + field(3, 9)))
        raw.send(frame(STREAM_END, number) + call(5, b"double", b"\x91\x04"))
        assert raw.kind() == RESULT
        raw.send(frame(STREAM_ITEM, number + field(2, b"\xc0") + field(3, 1) + field(5, 1)))
        assert raw.kind() == DENIED  # a server's message
