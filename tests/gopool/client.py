"""What the Go project's pool does on the wire, for tests: legacy and enhanced frames, HMAC."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyproc import _worker

DOCS = Path(__file__).parent / "apps" / "docs.py"
DEADLINE = 60.0


class Client:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def send(self, payload: bytes) -> None:
        """As the Go side: the length and the payload in two writes."""
        self.socket.sendall(struct.pack(">I", len(payload)))
        self.socket.sendall(payload)

    def receive(self) -> bytes:
        (size,) = struct.unpack(">I", self.exactly(4))
        return self.exactly(size)

    def ask(self, number: int, method: str, body: Any = None) -> None:
        self.send(json.dumps({"id": number, "method": method, "body": body}).encode())

    def answer(self) -> Any:
        return json.loads(self.receive())

    def call(self, number: int, method: str, body: Any = None) -> Any:
        self.ask(number, method, body)
        return self.answer()

    def cancel(self, number: int) -> None:
        about = {"id": number, "reason": "context cancelled"}
        self.send(json.dumps({"type": "cancellation", "payload": about}).encode())

    def ask_enhanced(self, number: int, method: str, body: Any, spoil: int = 0) -> None:
        payload = json.dumps({"id": number, "method": method, "body": body}).encode()
        checksum = _worker.crc32c(payload) ^ spoil
        head = struct.pack(">2sIQI", b"PY", 18 + len(payload), number, checksum)
        self.socket.sendall(head + payload)

    def answer_enhanced(self) -> tuple[int, Any]:
        magic, size, number, checksum = struct.unpack(">2sIQI", self.exactly(18))
        payload = self.exactly(size - 18)
        assert magic == b"PY"
        assert checksum == _worker.crc32c(payload)
        return number, json.loads(payload)

    def prove(self, secret: bytes) -> int:
        challenge = self.exactly(32)
        self.socket.sendall(hmac.new(secret, challenge, hashlib.sha256).digest())
        return self.exactly(1)[0]


class Started:
    """A worker as the Go pool starts it: `python docs.py` and a variable."""

    def __init__(
        self, path: Path, environment: Mapping[str, str], command: list[str] | None = None
    ) -> None:
        self.path = path
        self.process = subprocess.Popen(
            command or [sys.executable, str(DOCS)],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYPROC_SOCKET_PATH": str(path)}
            | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def connect(self) -> Client:
        """Tries as the Go pool does, until a connection succeeds."""
        limit = time.monotonic() + DEADLINE
        while True:
            try:
                return Client(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, self.said()
                assert time.monotonic() < limit
                time.sleep(0.02)

    def said(self) -> str:
        output = self.process.communicate(timeout=DEADLINE)[0]
        return str(output, "utf-8", "replace")

    def stop(self) -> int:
        """SIGINT, as the Go pool does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
        return self.process.returncode
