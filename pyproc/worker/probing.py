"""What a throw-away worker tries for `pool.isolation_report(probe=True)`: nothing that harms."""

from __future__ import annotations

import ctypes
import os
import resource
import socket

from pyproc.worker.registry import App

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

app = App()
_libc = ctypes.CDLL(None, use_errno=True)


def _read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _write(path: str) -> None:
    os.close(os.open(path + ".new", os.O_WRONLY | os.O_CREAT, 0o600))


def _socket() -> None:
    socket.socket(socket.AF_INET).close()


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _program() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _raise_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard + 1))


@app.expose
def attempts(path: str, host: int) -> list[tuple[str, str]]:
    """Each deed and the kernel's answer to it. path: a file that nobody granted."""
    deeds: list[tuple[str, Callable[[], object]]] = [
        ("read a file that is not granted", lambda: _read(path)),
        ("write beside it", lambda: _write(path)),
        ("make a socket", _socket),
        ("signal the host", lambda: os.kill(host, 0)),
        ("raise a limit", _raise_limit),
        ("become root", lambda: os.setresuid(0, 0, 0)),
        ("start a process", _fork),
        ("start a program", _program),
    ]
    answers = []
    for name, deed in deeds:
        try:
            deed()
            answer = "done"
        except (OSError, ValueError) as error:
            answer = f"refused: {getattr(error, 'strerror', None) or error}"
        answers.append((name, answer))
    return answers


@app.expose
def unmounts() -> str:
    """A call that no sandbox allows, of a place where nothing is mounted."""
    _libc.umount2(b"/nonexistent", 0)
    return f"answered: {os.strerror(ctypes.get_errno())}"
