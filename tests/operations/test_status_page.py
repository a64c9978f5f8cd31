"""The daemon's HTTP: what it shows, to whom, and what it does with those who misbehave."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc.errors import ConfigError
from pyproc.web.httpd import CONNECTIONS_MOST, HTTPServer
from pyproc.web.site import open_sites

DEADLINE = 60.0
TOKEN = "t" * 40
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def pool(app: str) -> Iterator[pyproc.Pool]:
    with pyproc.Pool(app, workers=1, sandbox="none") as pool:
        yield pool


@contextlib.contextmanager
def serving(pool: pyproc.Pool, http: str = "127.0.0.1:0", **options: Any) -> Iterator[HTTPServer]:
    _, opened = open_sites({"": pool}, None, http=http, **options)
    try:
        yield opened[0]
    finally:
        for one in opened:
            one.close()


def place_of(server: HTTPServer) -> tuple[str, int]:
    """Where an address of the network leads."""
    return str(server.address[0]), int(server.address[1])


def exchange(server: HTTPServer, request: bytes) -> bytes:
    """What comes for these bytes until the server closes; "" when it does without a word."""
    if isinstance(server.address, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE)
        connection.connect(server.address)
    else:
        connection = socket.create_connection(place_of(server), timeout=DEADLINE)
    got = b""
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        while part := connection.recv(65536):
            got += part
    return got


def get(server: HTTPServer, path: str, *headers: str) -> tuple[int, str, str]:
    """(status, head, body)."""
    lines = [f"GET {path} HTTP/1.1", *(headers or ("Host: localhost",)), "", ""]
    head, _, body = exchange(server, "\r\n".join(lines).encode()).decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), head, body


def until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < limit, "it did not come about in time"
        time.sleep(0.02)


def test_health_readiness_metrics_and_numbers_are_pages(pool: pyproc.Pool) -> None:
    assert pool.call("double", 4) == 8
    with serving(pool) as server:
        assert get(server, "/healthz")[::2] == (200, "default: ok\n")
        assert get(server, "/readyz")[0] == 200
        status, _, metrics = get(server, "/metrics")
        assert status == 200
        assert 'pyproc_calls_total{pool="default",result="ok"} 1.0' in metrics
        found = json.loads(get(server, "/status.json")[2])
        assert found["ready"] is True
        assert found["pools"][0]["calls_ok"] == 1
        assert found["workers"][0]["pid"] == pool.workers()[0].pid
        assert get(server, "/nothing")[0] == 404


def test_the_death_of_a_worker_is_told_with_its_cause(pool: pyproc.Pool) -> None:
    with serving(pool) as server:
        with pytest.raises(pyproc.WorkerCrashed):
            pool.call("die")
        until(lambda: bool(json.loads(get(server, "/status.json")[2])["deaths"]))
        death = json.loads(get(server, "/status.json")[2])["deaths"][0]
    assert "SIGABRT" in death["detail"] or "signal 6" in death["detail"]
    assert death["pid"] > 0


def test_a_daemon_that_leaves_is_alive_and_not_ready(pool: pyproc.Pool) -> None:
    site, opened = open_sites({"": pool}, None, http="127.0.0.1:0")
    try:
        site.leaves = True
        assert get(opened[0], "/readyz")[0] == 503
        assert get(opened[0], "/healthz")[0] == 200
    finally:
        opened[0].close()


def test_a_closed_pool_is_neither_alive_nor_ready(app: str) -> None:
    with pyproc.Pool(app, workers=1, sandbox="none") as pool:
        pass
    with serving(pool) as server:
        assert get(server, "/healthz")[0] == 503
        assert get(server, "/readyz")[0] == 503


def test_the_metrics_port_has_nothing_else(pool: pyproc.Pool) -> None:
    _, opened = open_sites({"": pool}, None, metrics="127.0.0.1:0")
    try:
        assert get(opened[0], "/metrics")[0] == 200
        assert get(opened[0], "/status.json")[0] == get(opened[0], "/")[0] == 404
    finally:
        opened[0].close()


def test_every_answer_forbids_foreign_content_and_caching(pool: pyproc.Pool) -> None:
    with serving(pool) as server:
        for path in ("/", "/page.js", "/status.json", "/nothing"):
            head = get(server, path)[1]
            assert "default-src 'none'; script-src 'self'" in head
            for word in ("nosniff", "no-store", "X-Frame-Options: DENY"):
                assert word in head
        page = get(server, "/")[2]
        assert "//" not in page.replace("<!doctype", "")  # no other origin is named


def test_a_socket_of_the_file_system_is_private(pool: pyproc.Pool, tmp_path: Path) -> None:
    place = tmp_path / "run" / "h.sock"
    with serving(pool, f"unix:{place}") as server:
        assert place.stat().st_mode & 0o777 == 0o600
        assert get(server, "/healthz")[0] == 200
    assert not place.exists()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(ConfigError, match="mode 0700 is needed"):
        open_sites({"": pool}, None, http=f"unix:{tmp_path}/open/h.sock")


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9180", "[::]:9180", "192.0.2.1:80", "localhost:1", "127.0.0.1", "unix:",
                "127.0.0.1:99999", "300.1.1.1:80", "http://127.0.0.1:80"]
)  # fmt: skip
def test_an_address_for_others_or_none_at_all_is_refused(pool: pyproc.Pool, address: str) -> None:
    with pytest.raises(ConfigError):
        open_sites({"": pool}, None, http=address)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    key_file.chmod(0o600)
    return cert_file, key_file


def token(folder: Path, text: str = TOKEN) -> Path:
    path = folder / "token"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def test_others_get_in_by_tls_and_token_only(pool: pyproc.Pool, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    refused: list[str] = []
    options = {"tls_cert": cert, "tls_key": key, "token_file": token(tmp_path)}
    with serving(pool, "0.0.0.0:0", on_refused=refused.append, **options) as server:
        context = ssl.create_default_context(cafile=str(cert))
        port = int(server.address[1])

        def status(headers: dict[str, str]) -> int:
            connection = http.client.HTTPSConnection(
                "localhost", port, context=context, timeout=DEADLINE
            )
            with contextlib.closing(connection):
                connection.request("GET", "/healthz", headers=headers)
                return connection.getresponse().status

        assert status({"Authorization": f"Bearer {TOKEN}"}) == 200
        assert status({"Authorization": f"Bearer {TOKEN}x"}) == 401
        assert status({}) == 401
        assert refused == ["a wrong token", "no token"]
        assert exchange(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""  # no TLS


def test_what_is_missing_for_others_is_named(pool: pyproc.Pool, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with pytest.raises(ConfigError, match="set token_file"):
        open_sites({"": pool}, None, http="0.0.0.0:0", tls_cert=cert, tls_key=key)
    with pytest.raises(ConfigError, match="set tls_cert and tls_key"):
        open_sites({"": pool}, None, http="0.0.0.0:0", token_file=token(tmp_path))
    with pytest.raises(ConfigError, match="belong together"):
        open_sites({"": pool}, None, http="127.0.0.1:0", tls_cert=cert)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_sites({"": pool}, None, http="127.0.0.1:0", tls_cert=cert, tls_key=key)
    with pytest.raises(ConfigError, match="32 to 4096"):
        open_sites({"": pool}, None, http="127.0.0.1:0", token_file=token(tmp_path, "short"))


def test_another_sites_name_is_refused_where_there_is_no_token(pool: pyproc.Pool) -> None:
    with serving(pool) as server:
        assert get(server, "/status.json", "Host: evil.example")[0] == 421
        assert get(server, "/status.json", "Host: 127.0.0.1:9180")[0] == 200
        assert get(server, "/status.json", "Host: [::1]:9180")[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        (b"GET /\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"\xff" * 20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    ],
)
def test_what_is_no_plain_request_gets_no_page(
    pool: pyproc.Pool, request_: bytes, status: bytes
) -> None:
    with serving(pool) as server:
        assert exchange(server, request_).split(b" ")[1] == status
        assert get(server, "/healthz")[0] == 200


def test_half_open_clients_are_cut_off_and_make_room(pool: pyproc.Pool) -> None:
    with serving(pool) as server, contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MOST + 20):
            half = stack.enter_context(socket.create_connection(place_of(server)))
            half.sendall(b"GET / HT")
        until(lambda: exchange(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") != b"")
        assert pool.call("double", 3) == 6


def test_closing_ends_connections_that_are_open(pool: pyproc.Pool) -> None:
    with serving(pool) as server:
        half = socket.create_connection(place_of(server), timeout=DEADLINE)
        half.sendall(b"GET /")
    with half, contextlib.suppress(ConnectionError):
        assert half.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place_of(server), timeout=DEADLINE)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (setup-system.sh ci)")
def test_a_browser_shows_it_and_takes_no_text_for_markup(pool: pyproc.Pool, tmp_path: Path) -> None:
    bad = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    pool._events.add("start_failed", bad)  # as the words of a worker that does not start
    with pytest.raises(pyproc.WorkerCrashed):
        pool.call("die")
    assert pool.call("double", 1) == 2
    with serving(pool) as server:
        until(lambda: len(json.loads(get(server, "/status.json")[2])["deaths"]) >= 2)
        assert CHROMIUM is not None
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=3000", "--dump-dom",
             f"http://127.0.0.1:{server.address[1]}/"],
            capture_output=True, text=True, timeout=120, check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
    dom = done.stdout
    assert "serves</span>" in dom
    assert f"<td>{pool.workers()[0].pid}</td>" in dom
    assert "SIGABRT" in dom or "signal 6" in dom
    assert "&lt;img src=x" in dom  # shown, as text
    assert "<img" not in dom
    assert "<title>pyproc</title>" in dom
