"""One connection of the Go pool: requests in, answers out, and who has given up.

A thread of its own reads a legacy request, runs the function and answers: one at a time, as the
pool sends them. While the function runs the server's watcher reads on, so that a cancellation or
the end of the connection is seen (`look`). Enhanced frames carry a number each: their functions
run in threads beside each other, and answers go out as they come.

Threads: `serve` belongs to the connection's thread; `look` to the watcher; the two share what
`_lock` guards. Answers are written under `_writing`.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from pyproc.gopool import functions, handshake
from pyproc.gopool.frames import PAYLOAD_MAX, Frame, FrameError, Reader, pack
from pyproc.gopool.functions import Request

if TYPE_CHECKING:
    from pyproc.gopool.server import Server

log = logging.getLogger("pyproc.gopool")
_RECEIVE = 64 * 1024
_LEAST = 5
#: Functions of one connection that run beside each other, of enhanced frames.
BESIDE_MAX = 64
_NUMBER_MAX = 2**64


class Connection:
    """Made by the accepting thread, closed by its own."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._reader = Reader()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._running: Request | None = None  # _lock: the legacy request, while its function runs
        self._beside: dict[int, Request] = {}  # _lock: enhanced ones
        self._room = threading.Semaphore(BESIDE_MAX)
        self._ahead: deque[Frame] = deque()  # _lock: read by the watcher
        self._ended = False  # _lock: the peer has closed
        self._seen: Request | None = None  # watcher: what ran at its last look

    # ---- its own thread ----

    def serve(self) -> None:
        """Until the peer closes, or breaks the protocol. Raises nothing."""
        try:
            secret = self._server.settings.secret
            if secret is None or handshake.accept(self._sock, secret):
                # Go writes a frame's length and its payload apart: not woken for the length alone.
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _LEAST)
                self._serve()
        except FrameError as error:
            log.warning("connection closed: %s", error)
            self._apologise(str(error))
        except OSError:
            pass  # the peer is gone; there is nobody to tell
        finally:
            self._end()

    def _serve(self) -> None:
        while (frame := self._next()) is not None:
            if frame.number is None:
                self._legacy(frame)
            else:
                self._enhanced(frame)

    def _next(self) -> Frame | None:
        while True:
            if self._ahead:
                return self._ahead.popleft()
            frame = self._reader.next()
            if frame is not None:
                return frame
            if self._ended:
                return None
            data = self._sock.recv(_RECEIVE)
            if not data:
                return None
            self._reader.feed(data)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            running = [*self._beside.values()]
        for request in running:
            request.cancel()
        functions.close_thread()
        self._server.forget(self)
        with self._writing:
            self._sock.close()

    def _legacy(self, frame: Frame) -> None:
        read = self._read(frame.payload)
        if isinstance(read, bytes):
            self._write(read, None)
            return
        if read is None:
            return
        request, body = read
        with self._lock:
            self._running = request
        self._server.watch()
        answer = self._run(request, body)
        with self._lock:
            self._running = None
        self._write(answer, None)

    def _enhanced(self, frame: Frame) -> None:
        number = frame.number
        read = self._read(frame.payload)
        if isinstance(read, bytes):
            self._write(read, number)
            return
        if read is None or number is None:
            return
        request, body = read
        self._room.acquire()
        with self._lock:
            self._beside[number] = request
        thread = threading.Thread(
            target=self._run_beside, args=(number, request, body), daemon=True, name="pyproc-go"
        )
        thread.start()

    def _run_beside(self, number: int, request: Request, body: Any) -> None:
        try:
            answer = self._run(request, body)
            with self._lock:
                self._beside.pop(number, None)
            self._write(answer, number)
        except OSError:
            pass  # the peer is gone
        finally:
            functions.close_thread()
            self._room.release()

    # ---- requests ----

    def _read(self, payload: bytes) -> tuple[Request, Any] | bytes | None:
        """The request and its body; the answer to what is none; None: nothing is to be answered."""
        try:
            message = self._server.codec.decode(payload)
        except Exception as error:
            return self._failure(0, f"the request is not readable: {error}")
        if not isinstance(message, dict):
            return self._failure(0, "the request must be an object")
        kind = message.get("type")
        if kind is not None and "method" not in message:
            message = message.get("payload")
            if kind == "cancellation" and isinstance(message, dict):
                self._cancel(message.get("id"))
                return None
            if kind != "request" or not isinstance(message, dict):
                return self._failure(0, f"there is no message of type {str(kind)[:100]!r}")
        number, method = message.get("id", 0), message.get("method")
        if type(number) is not int or not 0 <= number < _NUMBER_MAX:
            return self._failure(0, "the request's id must be a number from 0 to 2**64 - 1")
        if not isinstance(method, str):
            return self._failure(number, "the request's method must be a string")
        return Request(number, method), message.get("body")

    def _cancel(self, number: object) -> None:
        with self._lock:
            running = [self._running] if self._running is not None else []
            running += self._beside.values()
        for request in running:
            if request.number == number:
                request.cancel()

    def _run(self, request: Request, body: Any) -> bytes:
        """The answer, whatever the function does."""
        try:
            value = self._server.call(request, body)
            return self._success(request.number, value)
        except BaseException as error:  # SystemExit as well: no request stays unanswered
            if not request.cancelled:
                log.error("error in %r", request.method[:200], exc_info=error)
            return self._failure(request.number, str(error) or type(error).__name__)

    def _success(self, number: int, value: Any) -> bytes:
        codec = self._server.codec
        if codec.name == "msgpack":
            answer = codec.encode({"id": number, "ok": True, "body": value})
        else:
            answer = b'{"id":%d,"ok":true,"body":%b}' % (number, codec.encode(value))
        if len(answer) > PAYLOAD_MAX:
            raise ValueError(
                f"the answer takes {len(answer)} bytes; the Go side takes {PAYLOAD_MAX} at most"
            )
        return answer

    def _failure(self, number: int, text: str) -> bytes:
        text = text.encode("utf-8", "backslashreplace")[:65536].decode("utf-8", "ignore")
        return self._server.codec.encode({"id": number, "ok": False, "error": text})

    def _write(self, answer: bytes, number: int | None) -> None:
        frame = pack(answer, number)
        with self._writing:
            self._sock.sendall(frame)

    def _apologise(self, text: str) -> None:
        try:
            self._write(self._failure(0, text), None)
        except OSError:
            pass

    # ---- the watcher ----

    def look(self) -> bool:
        """Reads on while a function runs longer than from one look to the next.

        Answers whether one runs. Never waits.
        """
        running = self._running
        if running is None:
            self._seen = None
            return False
        if running is not self._seen:
            self._seen = running
            return True
        with self._lock:
            if self._running is running and not self._ended:
                self._read_ahead(running)
        return True

    def _read_ahead(self, running: Request) -> None:
        self._take_cancellations(running)  # what came along with the request itself
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLRDHUP)
        while len(self._reader) + sum(len(frame.payload) for frame in self._ahead) < PAYLOAD_MAX:
            if not poll.poll(0):
                return
            try:
                data = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._ended = True
                running.cancel()
                return
            self._reader.feed(data)
            self._take_cancellations(running)

    def _take_cancellations(self, running: Request) -> None:
        """Acts on what is for the running request; the rest stays in its order."""
        try:
            while (frame := self._reader.next()) is not None:
                if not self._is_cancellation(frame, running):
                    self._ahead.append(frame)
        except FrameError:
            self._ended = True  # what follows cannot be read
            running.cancel()

    def _is_cancellation(self, frame: Frame, running: Request) -> bool:
        try:
            message = self._server.codec.decode(frame.payload)
        except Exception:
            return False
        if not isinstance(message, dict) or message.get("type") != "cancellation":
            return False
        about = message.get("payload")
        if isinstance(about, dict) and about.get("id") == running.number:
            running.cancel()
        return True
