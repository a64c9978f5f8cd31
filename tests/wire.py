"""The host's end of the wire in a few lines of Python, to speak with one real worker.

Written from `proto/pyproc.proto` alone, without the core's C, so that a mistake in that cannot
hide here. Messages are dicts of field numbers; a worker's descriptors are made as the host makes
them. Tests close what they open with `with Child(...) as child`.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Any

from pyproc import codec, config

PACKAGE = Path(codec.__file__).resolve().parent
MAIN = PACKAGE / "worker" / "__main__.py"
#: The test applications, and the one that most tests use.
APPS = Path(__file__).resolve().parent / "unit" / "apps"
APP = "worker_app:app"
#: Seconds that any answer may take.
DEADLINE = 60.0
CONTROL_SIZE, STATUS_SIZE, AREA_AT = 4096, 256 * 1024, 128
NEVER, NO_RECALL = 2**63 - 1, 2**64 - 1

HELLO, HELLO_REPLY, CALL, RESULT, FAILURE, PART, RETURNED, LOG, PING, PONG, GOODBYE = range(1, 12)
ATTRIBUTE, FILE, MODULE, FUNCTIONS = range(1, 5)


class Fixed(int):
    """A fixed64."""


def varint(value: int) -> bytes:
    """A protobuf varint."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def pack(fields: Mapping[int, Any]) -> bytes:
    """A message; a list is a repeated field. Zero values are left out, as proto3 does."""
    out = b""
    for number, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            out += _pack_field(number, item, keep=isinstance(value, list))
    return out


def _pack_field(number: int, value: Any, *, keep: bool) -> bytes:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, Mapping):
        value, keep = pack(value), True
    if not value and not keep:
        return b""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, Fixed):
        return varint(number << 3 | 1) + struct.pack("<Q", value)
    return varint(number << 3) + varint(value)


def unpack(data: bytes) -> dict[int, list[Any]]:
    """The fields of a message, each a list of what came: int or bytes."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = _read_varint(data, at)
        elif key & 7 == 1:
            value, at = data[at : at + 8], at + 8
        else:
            assert key & 7 == 2, "a field of a kind that the protocol does not have"
            size, at = _read_varint(data, at)
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def frame(kind: int, fields: Mapping[int, Any]) -> bytes:
    """A whole frame with one envelope."""
    body = pack({kind: fields})
    return len(body).to_bytes(4, "big") + body


def one(fields: Mapping[int, list[Any]], number: int, default: Any = 0) -> Any:
    """A field that comes at most once."""
    values = fields.get(number, [default])
    assert len(values) == 1
    return values[0]


class Node:
    """One exception of a failure."""

    def __init__(self, data: bytes) -> None:
        fields = unpack(data)
        self.relation, self.parent = one(fields, 1), one(fields, 2)
        self.type_name: str = one(fields, 3, b"").decode()
        self.message: str = one(fields, 4, b"").decode()
        self.traceback: str = one(fields, 5, b"").decode()
        self.arguments: bytes = one(fields, 6, b"")
        self.notes: list[str] = [note.decode() for note in fields.get(7, [])]
        self.attributes: bytes = one(fields, 9, b"")
        self.suppress = bool(one(fields, 8))

    def tuple(self) -> Any:
        """As the core hands it to `errors.from_failure`."""
        head = (self.relation, self.parent, self.type_name, self.message, self.traceback)
        return (*head, self.arguments, self.attributes, tuple(self.notes), self.suppress)


class Child:
    """A worker process and the host's ends of all that it was born with."""

    def __init__(
        self, *, python: str = sys.executable, env: Mapping[str, str] | None = None
    ) -> None:
        self.call, call = socket.socketpair()
        self.events, event = socket.socketpair()
        self.call.settimeout(DEADLINE)
        self.events.settimeout(DEADLINE)
        self.control_fd, self.control = _page(CONTROL_SIZE)
        self.status_fd, self.status = _page(STATUS_SIZE)
        self.crash_fd = os.memfd_create("crash")
        self.set_control(deadline=NEVER, recall_from=NO_RECALL)
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        given = [call.fileno(), event.fileno(), self.control_fd, self.status_fd, self.crash_fd]
        allowed = {
            name: os.environ[name] for name in config.ENVIRONMENT_ALLOWED if name in os.environ
        }
        environment = {**allowed, **(env or {})}
        self.pid = _spawn([python, "-I", "-B", str(MAIN)], [-1, out, err, *given], environment)
        for end in (call, event):
            end.close()
        os.close(out)
        os.close(err)
        self.buffer = b""
        self.next_id = 0
        self.ended: int | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: object, trace: TracebackType | None
    ) -> None:
        self.call.close()
        self.events.close()
        if self.ended is None:
            os.kill(self.pid, 9)
            self.wait()
        self.control.close()
        self.status.close()
        for fd in (self.control_fd, self.status_fd, self.crash_fd, self.out, self.err):
            os.close(fd)

    # ---- pages ----

    def set_control(self, **words: int) -> None:
        """Writes call_id, cancelled, deadline or recall_from."""
        for name, value in words.items():
            at = ("call_id", "cancelled", "deadline", "recall_from").index(name) * 8
            struct.pack_into("<Q", self.control, at, value)

    def started(self) -> int:
        """The newest call that user code has seen."""
        return int(struct.unpack_from("<Q", self.status, 0)[0])

    def area(self) -> tuple[int, int, int, bytes]:
        """Id, first item, number of items and bytes of the chunk's area."""
        call, base, count, size = struct.unpack_from("<QIIQ", self.status, 8)
        return call, base, count, bytes(self.status[AREA_AT : AREA_AT + size])

    # ---- frames ----

    def send(self, kind: int, fields: Mapping[int, Any]) -> None:
        """Sends one message."""
        self.call.sendall(frame(kind, fields))

    def receive(self) -> tuple[int, dict[int, list[Any]]]:
        """The next message. EOFError when the worker has closed."""
        size = int.from_bytes(self._exactly(4), "big")
        fields = unpack(self._exactly(size))
        assert len(fields) == 1
        ((kind, [body]),) = fields.items()
        return kind, unpack(body)

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            try:
                got = self.call.recv(1024 * 1024)
            except ConnectionResetError:  # it left without reading all that was sent
                got = b""
            if not got:
                raise EOFError
            self.buffer += got
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def log(self) -> dict[int, list[Any]]:
        """The next record of the event channel."""
        size = int.from_bytes(self._event_bytes(4), "big")
        return unpack(one(unpack(self._event_bytes(size)), LOG))

    def _event_bytes(self, size: int) -> bytes:
        # MSG_WAITALL means nothing here: a time limit makes the socket non-blocking.
        data = b""
        while len(data) < size:
            got = self.events.recv(size - len(data))
            if not got:
                raise EOFError
            data += got
        return data

    # ---- what a host does ----

    def hello(
        self,
        kind: int,
        target: str = "",
        *,
        file: str = "",
        path: Sequence[str] | None = None,
        max_frame: int = 16 * 1024 * 1024,
        max_result: int = 8 * 1024 * 1024,
        functions: Sequence[Mapping[int, Any]] = (),
        **expected: str,
    ) -> tuple[int, dict[int, list[Any]]]:
        """Sends Hello and answers with the worker's answer."""
        fields: dict[int, Any] = {1: 1, 2: max_frame, 3: max_result, 4: kind, 5: target, 6: file}
        fields |= {7: list(functions), 8: list(sys.path if path is None else path)}
        fields |= {9: expected.get("prefix", ""), 10: expected.get("base_prefix", "")}
        self.send(HELLO, fields | {11: expected.get("version", "")})
        return self.receive()

    def send_call(self, function: str, /, *args: object, **kwargs: object) -> int:
        """Sends a call; its id."""
        payload, kind, keywords = codec.encode_arguments(args, kwargs)
        return self.send_payload(function, payload, kind, keywords)

    def send_payload(
        self, function: str, payload: bytes, kind: int, keywords: Sequence[str] = (), items: int = 0
    ) -> int:
        """Sends a call whose payload is ready; its id."""
        self.next_id += 1
        fields = {1: Fixed(self.next_id), 2: function, 3: payload, 4: kind}
        self.send(CALL, fields | {5: list(keywords), 7: items})
        return self.next_id

    def result(self, function: str, /, *args: object, **kwargs: object) -> Any:
        """Calls, and answers with the value."""
        call = self.send_call(function, *args, **kwargs)
        kind, fields = self.receive()
        assert kind == RESULT, [Node(node).message for node in fields.get(3, [])]
        assert one(fields, 1) == struct.pack("<Q", call)
        return codec.decode_value(one(fields, 2, b""), one(fields, 3))

    def failure(self, function: str, /, *args: object, **kwargs: object) -> tuple[int, list[Node]]:
        """Calls, and answers with the kind and the nodes of the failure."""
        self.send_call(function, *args, **kwargs)
        kind, fields = self.receive()
        assert kind == FAILURE, fields
        self.path = one(fields, 5, b"").decode()
        return one(fields, 2), [Node(node) for node in fields[3]]

    def output(self) -> str:
        """All that the worker writes to stdout until it ends."""
        return _read_all(self.out)

    def errors(self) -> str:
        """All that the worker writes to stderr until it ends."""
        return _read_all(self.err)

    def read_output(self, until: str) -> str:
        """What the worker writes to stdout, up to and with `until`."""
        text, limit = "", time.monotonic() + DEADLINE
        while until not in text:
            ready, _, _ = select.select([self.out], [], [], max(0.0, limit - time.monotonic()))
            assert ready, f"{until!r} did not come, only {text!r}"
            got = os.read(self.out, 65536)
            assert got, f"the worker ended after {text!r}"
            text += got.decode()
        return text

    def wait(self) -> int:
        """Waits for the end: exit code, or minus the signal."""
        if self.ended is None:
            limit = time.monotonic() + DEADLINE
            pidfd = os.pidfd_open(self.pid)
            try:
                ready, _, _ = select.select([pidfd], [], [], max(0.0, limit - time.monotonic()))
            finally:
                os.close(pidfd)
            assert ready, "the worker did not end"
            self.ended = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.ended

    def crash_text(self) -> str:
        """What the fault handler wrote."""
        return os.pread(self.crash_fd, 65536, 0).decode()


def open_app(child: Child, target: str = APP, **options: Any) -> None:
    """Hello for one of the test applications, which must be welcome."""
    kind, fields = child.hello(ATTRIBUTE, target, path=[str(APPS), *sys.path], **options)
    assert kind == HELLO_REPLY, [Node(node).message for node in fields[3]]


def until_the_end(child: Child) -> Iterator[tuple[int, dict[int, list[Any]]]]:
    """Messages until the worker has closed."""
    while True:
        try:
            yield child.receive()
        except EOFError:
            return


def _page(size: int) -> tuple[int, mmap]:
    fd = os.memfd_create("page", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd, mmap(fd, size)


def _spawn(argv: list[str], fds: Sequence[int], env: Mapping[str, str]) -> int:
    """Starts a program with these descriptors as its 0 to 7; -1 is /dev/null."""
    base = 100
    moved = [fd if fd < 0 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, base) for fd in fds]
    actions: list[Any] = []
    for number, fd in enumerate(moved):
        if fd < 0:
            actions.append((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDONLY, 0))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, fd, number))
    try:
        return os.posix_spawn(argv[0], argv, dict(env), file_actions=actions)
    finally:
        for fd in moved:
            if fd >= 0:
                os.close(fd)


def _read_all(fd: int) -> str:
    parts: list[bytes] = []
    limit = time.monotonic() + DEADLINE
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, limit - time.monotonic()))
        assert ready, "the worker's output did not end"
        got = os.read(fd, 65536)
        if not got:
            return b"".join(parts).decode()
        parts.append(got)
