"""The control socket of a pool: `pyproc ps`, `top`, `dump`, `drain` and so on speak with it.

One JSON object a line each way: {"command": "ps", "arguments": {}} is answered by
{"ok": true, "result": ...} or {"ok": false, "code": "denied", "error": "one sentence"}. The socket
has mode 0600 in a directory that only its owner can enter; who connects must be that user or root
(SO_PEERCRED), and where a policy says so, have a role with `control`. A thread accepts, each
connection has one more; nobody is waited for longer than IDLE_SECONDS, and a pool that nobody asks
is not woken up.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from pyproc import errors

if TYPE_CHECKING:
    from pyproc.access import Policy
    from pyproc.pool import Pool

VERSION = 1
CONNECTIONS_MAX = 16
LINE_MAX = 64 * 1024
IDLE_SECONDS = 60.0
_PATH_MAX = 107  # bytes of sun_path, unix(7)

Command = Callable[..., Any]


class ControlError(errors.Error):
    """The other end of a control socket said no, or was not there. code: "unreachable", "denied",
    "unknown", "invalid" or "failed"."""

    def __init__(self, message: str = "", code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


def check_place(path: str) -> None:
    """Refuses a socket's path that others could get at. ValueError says why."""
    if len(os.fsencode(path)) > _PATH_MAX or "\0" in path:
        raise ValueError(f"control={path!r}: a socket's path has at most {_PATH_MAX} bytes")
    folder = os.path.dirname(path) or "."
    try:
        status = os.stat(folder, follow_symlinks=False)
    except FileNotFoundError:
        os.mkdir(folder, 0o700)
        status = os.stat(folder, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"control={path!r}: {folder!r} is no directory, or a link to one")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ValueError(
            f"control={path!r}: {folder!r} belongs to user {status.st_uid} with mode "
            f"{stat.S_IMODE(status.st_mode):04o}; a directory of our own with mode 0700 is needed"
        )


def listen(path: str) -> socket.socket:
    """A listening socket of mode 0600; a stale one is replaced. ValueError: the place is not safe,
    or somebody listens there."""
    check_place(path)
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ValueError(f"control={path!r}: there is something that is no socket")
        if _answers(path):
            raise ValueError(f"control={path!r}: another pool listens there")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody else can enter the directory, so that there is no moment to get in between.
        listener.bind(path)
        os.chmod(path, 0o600, follow_symlinks=True)
        listener.listen(CONNECTIONS_MAX)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True


def peer_of(connection: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of the other end, as the kernel noted them."""
    size = struct.calcsize("3i")
    found = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return found[0], found[1], found[2]


class ControlServer:
    """Of one pool, closed with it. `tell(event, **fields)` gets an audit event for each command."""

    def __init__(
        self,
        path: str,
        pool: Pool,
        tell: Callable[..., object],
        policy: Callable[[], Policy] | None = None,
        also: dict[str, Command] | None = None,
    ) -> None:
        from pyproc.commands import commands_of

        self._path = os.path.abspath(path)
        self._tell, self._policy = tell, policy
        self._commands = commands_of(pool) | (also or {})
        self._lock = threading.Lock()
        # When each was last heard of; None while it waits for an answer.
        self._connections: dict[socket.socket, float | None] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._listener = listen(self._path)
        self._inode = os.stat(self._path).st_ino
        self._thread = threading.Thread(target=self._accept, name="pyproc-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends every connection and removes the socket, unless it is somebody else's by now."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            connections = list(self._connections)
        for one in (self._listener, *connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._threads):
            if thread is not threading.current_thread():
                thread.join(10)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def after_fork(self) -> None:
        """In a forked child: its copies must not keep the socket open."""
        self._closed = True
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.1)  # out of descriptors: it passes
                continue
            with self._lock:
                if self._closed or not self._make_room():
                    connection.close()
                    continue
                self._connections[connection] = time.monotonic()
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="pyproc-control", daemon=True
                )
                self._threads.add(thread)
            thread.start()

    def _make_room(self) -> bool:
        """Lock held. The one that has been silent for longest makes room for a new one."""
        if len(self._connections) < CONNECTIONS_MAX:
            return True
        silent = [(since, one) for one, since in self._connections.items() if since is not None]
        if not silent:
            return False
        oldest = min(silent, key=lambda entry: entry[0])[1]
        del self._connections[oldest]
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # its thread sees the end and closes it
        return True

    def _heard(self, connection: socket.socket, since: float | None) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections[connection] = since

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(IDLE_SECONDS)
            pid, uid, gid = peer_of(connection)
            if uid not in (0, os.geteuid()):
                self._tell("access.denied", uid=uid, peer_pid=pid, reason="control socket")
                return
            with connection.makefile("rb") as lines:
                while line := lines.readline(LINE_MAX + 1):
                    if not line.endswith(b"\n"):
                        return
                    self._heard(connection, None)
                    answer = self._answer(line, pid, uid, gid)
                    self._heard(connection, time.monotonic())
                    connection.sendall(json.dumps(answer, default=str).encode() + b"\n")
        except (OSError, ValueError):
            pass  # it went away, or took too long
        finally:
            with self._lock:
                self._connections.pop(connection, None)
                self._threads.discard(threading.current_thread())
            connection.close()

    def _answer(self, line: bytes, pid: int, uid: int, gid: int) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            name, arguments = asked["command"], asked.get("arguments", {})
            if not isinstance(name, str) or not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _no("invalid", "a command is one JSON object with 'command' and 'arguments'")
        if not self._may(name, uid, gid):
            self._tell("access.denied", uid=uid, peer_pid=pid, action=name[:64])
            return _no("denied", f"you may not use {name!r} here")
        command = self._commands.get(name)
        if command is None:
            return _no("unknown", f"there is no command {name!r}")
        if name not in _QUIET:
            self._tell("control.command", action=name, uid=uid, peer_pid=pid)
        try:
            return {"ok": True, "result": command(**arguments)}
        except (TypeError, ValueError, LookupError) as error:
            return _no("invalid", str(error))
        except Exception as error:
            return _no("failed", f"{type(error).__name__}: {error}")

    def _may(self, name: str, uid: int, gid: int) -> bool:
        if self._policy is None or uid == 0:
            return True
        from pyproc.access import Peer

        return self._policy().may_control(Peer(uid, frozenset({gid})), name).allowed


#: Commands that only look; they leave no line in the audit log.
_QUIET = frozenset({
    "ping", "ps", "stats", "top", "health", "events", "functions", "quarantine", "isolated",
})  # fmt: skip


def _no(code: str, error: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "error": error}


class ControlClient:
    """Asks a control socket. One thread at a time; a context manager."""

    def __init__(self, path: str | os.PathLike[str], timeout: float = 30.0) -> None:
        place = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(place)
            _, uid, _ = peer_of(self._socket)
            if uid not in (0, os.geteuid(), os.stat(place).st_uid):
                raise ControlError(f"user {uid} answers at {place!r}, not its owner", "denied")
        except FileNotFoundError:
            self._fail(f"there is no control socket {place!r}", "unreachable")
        except PermissionError:
            self._fail(f"you may not connect to {place!r}", "denied")
        except OSError as error:
            self._fail(f"nothing answers at {place!r}: {error.strerror or error}", "unreachable")
        except BaseException:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def _fail(self, message: str, code: str) -> None:
        self._socket.close()
        raise ControlError(message, code) from None

    def ask(self, command: str, **arguments: Any) -> Any:
        """The command's result. ControlError otherwise."""
        asked = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        try:
            self._socket.sendall(asked)
            line = self._lines.readline(64 * 2**20)
        except TimeoutError:
            raise ControlError(f"{command!r} was not answered in time", "unreachable") from None
        except OSError as error:
            raise ControlError(f"the connection broke: {error.strerror}", "unreachable") from None
        if not line.endswith(b"\n"):
            raise ControlError("the pool closed the connection: it ended, or refuses you", "denied")
        answer = json.loads(line)
        if answer.get("ok") is not True:
            raise ControlError(str(answer.get("error")), str(answer.get("code")))
        return answer.get("result")

    def close(self) -> None:
        """Twice is fine."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
