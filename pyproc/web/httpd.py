"""A small HTTP server for a few read-only pages: bounded in connections, bytes and time.

One thread, one asyncio loop. A request is a GET or HEAD without a body and with a head of at most
8 KiB; one is answered a connection. Whoever is slow, or one too many, is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyproc.web.places import Place, listen

HEAD_MOST = 8192
HEAD_SECONDS = 5.0
SEND_SECONDS = 10.0
CONNECTIONS_MOST = 64
#: How long an answer to a wrong token waits.
WRONG_SECONDS = 0.2
_WORDS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 413: "Content Too Large", 421: "Misdirected Request",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


@dataclass(frozen=True)
class Answer:
    """What a page says."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


#: A path -> what answers it; called on the server's thread, and must not wait.
Pages = Mapping[str, Callable[[], Answer]]


def _words(status: int, text: str = "", **headers: str) -> Answer:
    body = (text or _WORDS[status]).encode() + b"\n"
    return Answer(body, status=status, headers=headers)


class _Refused(Exception):
    """A request that gets no page."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class HTTPServer:
    """Serves pages at a place from the moment it is made until `close`. Any thread.

    on_refused: told a sentence when a token is wrong or missing, on the server's thread.
    """

    def __init__(
        self, place: Place, pages: Pages, on_refused: Callable[[str], object] | None = None
    ) -> None:
        self._place, self._pages = place, pages
        self._on_refused = on_refused
        self._open: set[asyncio.StreamWriter] = set()
        self._closed = False
        self._listener = listen(place)
        self.address = place.path or self._listener.getsockname()
        self._inode = os.stat(place.path).st_ino if place.path is not None else 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="pyproc-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cuts off whoever is connected and lets the place go. Once more is fine."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._place.path is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._place.path).st_ino == self._inode:
                    os.unlink(self._place.path)

    def _run(self) -> None:
        with contextlib.closing(self._loop) as loop:
            asyncio.set_event_loop(loop)
            # A client that breaks off, also in the middle of TLS, is nobody's trouble.
            loop.set_exception_handler(lambda _loop, _context: None)
            loop.run_until_complete(self._main())

    async def _main(self) -> None:
        server = await asyncio.start_server(
            self._serve, sock=self._listener, limit=HEAD_MOST, ssl=self._place.tls,
            ssl_handshake_timeout=None if self._place.tls is None else HEAD_SECONDS,
        )  # fmt: skip
        await self._stop.wait()
        # Nothing is accepted any more, and what was gets its transport, which can be cut off:
        # a server that is closed meanwhile would leave the bare socket open.
        asyncio.get_running_loop().remove_reader(self._listener)
        await _turns()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _turns()  # and is closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MOST:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            async with asyncio.timeout(HEAD_SECONDS + SEND_SECONDS):
                await self._exchange(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_head = False
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            is_head = head.startswith(b"HEAD ")
            answer = await self._answer(head)
        except _Refused as refused:
            answer = refused.answer
        except asyncio.LimitOverrunError:
            answer = _words(431)
        except TimeoutError:
            answer = _words(408)
        headers = {
            **_HEADERS,
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {_WORDS[answer.status]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if is_head else answer.body))
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()  # the client reads to the end before it is cut off
            await reader.read(1)

    async def _answer(self, head: bytes) -> Answer:
        path, headers = _parse(head)
        self._check_host(headers.get("host", ""))
        if self._place.token is not None:
            await self._check_token(headers.get("authorization", ""))
        page = self._pages.get(path)
        if page is None:
            return _words(404, "there is no such page")
        try:
            return page()
        except Exception:  # a pool that closes under it
            return _words(503, "the daemon is leaving")

    def _check_host(self, host: str) -> None:
        """A page of another site whose name was made to lead here sends that name."""
        if self._place.path is not None or self._place.token is not None:
            return
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        name = name.strip("[]").lower()
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(name).is_loopback:
                return
        if name != "localhost":
            raise _Refused(_words(421, "ask for 127.0.0.1 or localhost"))

    async def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        wanted = self._place.token or b""
        is_right = hmac.compare_digest(token.strip().encode("latin-1"), wanted)
        if is_right and scheme.lower() == "bearer":
            return
        if self._on_refused is not None:
            self._on_refused("a wrong token" if token else "no token")
        await asyncio.sleep(WRONG_SECONDS)
        raise _Refused(_words(401, "a token is needed", **{"WWW-Authenticate": "Bearer"}))


async def _turns() -> None:
    """The loop carries out what it has begun."""
    for _ in range(8):
        await asyncio.sleep(0)


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    """Path and headers. Raises _Refused for what is not plain HTTP/1."""
    lines = head[:-4].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _Refused(_words(400))
    if words[0] not in ("GET", "HEAD"):
        raise _Refused(_words(405, Allow="GET, HEAD"))
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise _Refused(_words(400))
        headers[name.lower()] = value.strip()
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _Refused(_words(413, "no body is taken"))
    return words[1].partition("?")[0], headers
