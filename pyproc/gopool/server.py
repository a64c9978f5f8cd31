"""The worker as a whole: loads, binds last, serves every connection at once, leaves with its host.

The Go side takes a connection that succeeds for readiness, so the socket is bound when everything
else is done. It does not say when it is gone: the process that started us is watched by its pidfd
(pidfd_open(2)), which, unlike a death signal, does not fire when only a thread of it ends.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyproc.gopool import codecs
from pyproc.gopool.connection import Connection
from pyproc.gopool.functions import Entry, Request
from pyproc.gopool.settings import Settings

if TYPE_CHECKING:
    from pyproc.gopool.confined import Confined

log = logging.getLogger("pyproc.gopool")
_BACKLOG = 128
CONNECTIONS_MAX = 1024
#: Seconds between two looks of the watcher while functions run.
_LOOK = 0.02
_HEALTH = "health"


class Server:
    """One a process. `run` belongs to the main thread; connections call the rest from theirs."""

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        settings: Settings,
        confined: Confined | None = None,
    ) -> None:
        self.settings, self._confined = settings, confined
        self.codec = codecs.get(settings.codec)
        self._entries = {name: Entry(name, function) for name, function in functions.items()}
        self._entries.setdefault(_HEALTH, Entry(_HEALTH, _health))
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._busy = threading.Event()  # something may be running: the watcher looks
        self._places: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if settings.concurrency is not None:
            self._places = threading.Semaphore(settings.concurrency)

    # ---- for connections ----

    def call(self, request: Request, body: Any) -> Any:
        """Runs the function; its exceptions pass. LookupError: there is none of that name."""
        entry = self._entries.get(request.method)
        if entry is None:
            raise LookupError(f"Method '{request.method[:200]}' not found")
        with self._places:
            _current.request = request
            try:
                return entry.call(request, body)
            finally:
                _current.request = None

    def watch(self) -> None:
        """A function is about to run."""
        if not self._busy.is_set():
            self._busy.set()

    def forget(self, connection: Connection) -> None:
        """The connection ends."""
        with self._lock:
            self._connections.discard(connection)

    # ---- the main thread ----

    def run(self) -> None:
        """Serves until the host is gone, or SIGINT or SIGTERM comes. OSError: cannot listen."""
        with _host() as host, _signals() as wake, self._listening() as listener:
            threading.Thread(target=self._watch, daemon=True, name="pyproc-watch").start()
            log.info("listening on %s with codec %s", self.settings.path, self.codec.name)
            poll = select.poll()
            for one in (host, wake):
                poll.register(one, select.POLLIN)
            poll.register(listener, select.POLLIN)
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if host in ready or wake in ready:
                    return
                self._accept(listener)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        """What a connection can be made to: the last of all steps."""
        confined = self._confined
        with bound(self.settings.path) if confined is None else confined.listener as listener:
            listener.setblocking(False)
            if confined is not None:
                confined.close_in()
                log.info("closed in: %s", confined.profile)
            listener.listen(_BACKLOG)
            yield listener

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                threading.Event().wait(0.05)  # until a connection has ended
            return
        sock.setblocking(True)
        with self._lock:
            full = len(self._connections) >= CONNECTIONS_MAX
        if full:
            log.warning("refused a connection: there are %d already", CONNECTIONS_MAX)
            sock.close()
            return
        connection = Connection(self, sock)
        with self._lock:
            self._connections.add(connection)
        thread = threading.Thread(target=connection.serve, daemon=True, name="pyproc-go")
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self.forget(connection)
            sock.close()

    def _watch(self) -> None:
        """Looks at connections whose functions take long; sleeps while nothing runs."""
        pause = threading.Event()
        while True:
            self._busy.wait()
            self._busy.clear()
            while True:
                pause.wait(_LOOK)
                with self._lock:
                    connections = list(self._connections)
                looked = [connection.look() for connection in connections]
                if not any(looked):
                    break


class _Current(threading.local):
    request: Request | None = None


_current = _Current()


def running() -> Request | None:
    """The request that the calling thread works on."""
    return _current.request


def _health(body: Any) -> dict[str, Any]:
    return {"status": "healthy", "pid": os.getpid()}


@contextlib.contextmanager
def _host() -> Iterator[int]:
    """A descriptor that becomes readable when the process that started us is gone."""
    fd = os.pidfd_open(os.getppid())
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable when SIGINT or SIGTERM comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        yield ours.fileno()
        signal.set_wakeup_fd(before)


def bound(path: str) -> socket.socket:
    """Bound with mode 0600, not listening yet. A socket that nobody listens on is replaced; nothing
    else is. OSError."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"PYPROC_SOCKET_PATH={path}: {error.strerror}") from None
    finally:
        os.umask(before)
    return listener


def _remove_stale(path: str) -> None:
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise FileExistsError(errno.EEXIST, f"PYPROC_SOCKET_PATH={path} is there, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise OSError(error.errno, f"PYPROC_SOCKET_PATH={path}: {error.strerror}") from None
        else:
            raise OSError(errno.EADDRINUSE, f"PYPROC_SOCKET_PATH={path}: another process serves it")


def leave(code: int) -> None:
    """Ends the process at once, whatever its threads do; what was printed is written first."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
