"""The Go project's HMAC handshake, listening side: it proves the client, once a connection.

32 random bytes out, HMAC-SHA256(secret, those bytes) in, one byte out: 1 accepted, 0 refused.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import stat

_SIZE = 32
#: Seconds that the client may take.
DEADLINE = 5.0
_FILE_MAX = 4096


def accept(sock: socket.socket, secret: bytes) -> bool:
    """Whether the client knows the secret. Raises OSError when it is gone or too slow."""
    challenge = secrets.token_bytes(_SIZE)
    sock.settimeout(DEADLINE)
    sock.sendall(challenge)
    answer = b""
    while len(answer) < _SIZE:
        data = sock.recv(_SIZE - len(answer))
        if not data:
            return False
        answer += data
    wanted = hmac.new(secret, challenge, hashlib.sha256).digest()
    accepted = hmac.compare_digest(answer, wanted)
    sock.sendall(b"\x01" if accepted else b"\x00")
    sock.settimeout(None)
    return accepted


def from_text(text: str) -> bytes:
    """64 hex digits are the secret's bytes, as SecretFromHex makes them; any other text stands
    for its SHA-256, as with SecretFromString. ValueError: it is empty."""
    text = text.strip()
    if not text:
        raise ValueError("the secret is empty")
    if len(text) == 2 * _SIZE:
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) == _SIZE:
            return secret
    return hashlib.sha256(text.encode("utf-8")).digest()


def from_file(path: str) -> bytes:
    """The secret in a file that nobody else may read. ValueError or OSError says what is wrong."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError(f"{path} is no regular file")
        if facts.st_uid not in (0, os.geteuid()):
            raise ValueError(f"{path} belongs to another user")
        if facts.st_mode & 0o077:
            raise ValueError(f"{path} may be read by others: chmod 600 {path}")
        data = file.read(_FILE_MAX + 1)
    if len(data) > _FILE_MAX:
        raise ValueError(f"{path} is larger than a secret")
    return from_text(data.decode("utf-8"))
