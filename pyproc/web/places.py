"""Where the status page may listen, and what it needs there. What is not safe is refused.

"127.0.0.1:9180", "[::1]:9180" and "unix:PATH" are for the machine itself. Any other address is
for everybody who reaches it, so that it takes a certificate, its key and a token.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from dataclasses import dataclass

from pyproc import control
from pyproc.audit.chain import read_secret
from pyproc.errors import AuditError, ConfigError

#: What a token has at least: it is all that keeps others out.
TOKEN_LEAST, TOKEN_MOST = 32, 4096
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Place:
    """An address that was looked at. path: of a Unix socket; else host and port."""

    name: str
    path: str | None
    host: str
    port: int
    tls: ssl.SSLContext | None
    token: bytes | None

    @property
    def is_local(self) -> bool:
        """Only this machine gets there."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback


def place_of(
    address: str,
    name: str,
    *,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
) -> Place:
    """The place that `name` (as "http") names. ConfigError says what is wrong or missing."""
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("tls_cert and tls_key belong together: one of them is missing", name)
    token = None if token_file is None else _token(os.fspath(token_file), name)
    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = _context(os.fspath(tls_cert), os.fspath(tls_key), name)
    if address.startswith("unix:"):
        if len(address) == len("unix:"):
            raise ConfigError(f"{name}={address!r}: a path is needed after unix:", name)
        return Place(name, os.path.abspath(address[len("unix:") :]), "", 0, tls, token)
    host, port = _split(address, name)
    place = Place(name, None, host, port, tls, token)
    if not place.is_local and (tls is None or token is None):
        needed = {"tls_cert and tls_key": tls, "token_file": token}
        missing = [word for word, there in needed.items() if there is None]
        raise ConfigError(
            f"{name}={address!r} is not of this machine alone: set {' and '.join(missing)}, "
            "or listen on 127.0.0.1 or unix:PATH",
            name,
        )
    return place


def _split(address: str, name: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(
            f"{name}={address!r}: 127.0.0.1:PORT, [::1]:PORT or unix:PATH is needed", name
        )
    host, port = found["six"] or found["four"], int(found["port"])
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(f"{name}={address!r}: {host!r} is no address", name) from None
    if port > 65535:
        raise ConfigError(f"{name}={address!r}: a port is at most 65535", name)
    return host, port


def _secret(path: str, name: str, what: str) -> bytes:
    """A file that nobody else can read. One that is longer is cut, as nothing here may be."""
    try:
        return read_secret(path)
    except AuditError as error:
        raise ConfigError(f"{what}: {error}", name) from None


def _token(path: str, name: str) -> bytes:
    token = _secret(path, name, "token_file").strip()
    if not TOKEN_LEAST <= len(token) <= TOKEN_MOST:
        raise ConfigError(
            f"token_file={path!r} has {len(token)} bytes; {TOKEN_LEAST} to {TOKEN_MOST} are needed",
            name,
        )
    if not all(0x21 <= byte < 0x7F for byte in token):
        raise ConfigError(f"token_file={path!r}: one line of visible ASCII is needed", name)
    return token


def _context(cert: str, key: str, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _secret(key, name, "tls_key")
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"tls_cert={cert!r} and tls_key={key!r}: {error}", name) from None
    return context


def listen(place: Place) -> socket.socket:
    """A listening socket there. OSError, or ConfigError for a path that others could get at."""
    if place.path is not None:
        try:
            return control.listen(place.path)
        except ValueError as error:
            raise ConfigError(str(error).replace("control=", "unix:", 1), place.name) from None
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((place.host, place.port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        error.add_note(f"{place.name}: the address is {place.host}, port {place.port}")
        raise
    return listener
