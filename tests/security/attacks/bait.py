"""What the host lays out for attacks: everything as open as its owner can make it.

Modes are 0666 and 0777, so that what refuses an attack is the sandbox and not an owner's mode.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from security.attacks.registry import TOKEN, Bait, Refused, libc, syscall

_OUTSIDER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(0x59616D61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)  # whoever may, may trace us
buffer = ctypes.create_string_buffer(sys.argv[1].encode(), 64)
fd = os.open(sys.argv[2], os.O_RDONLY)
os.chdir(os.path.dirname(sys.argv[2]))
print(ctypes.addressof(buffer), fd, flush=True)
sys.stdin.read()
"""


class Lure:
    """The bait; made once, put right again before each attack."""

    def __init__(self) -> None:
        self.top = Path(os.path.realpath(tempfile.mkdtemp(prefix="bait-")))
        self.bait: Bait = {"top": str(self.top), "host": os.getpid()}
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.top, ignore_errors=True)
        try:
            self._lay_files()
            self._open_sockets()
            self._share()
            self._start_outsider()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stack.close()

    def reset(self) -> None:
        """Puts back what the last attack may have taken or changed."""
        for name in ("file", "module"):
            path = Path(self.bait[name])
            path.write_text("whole = 1\n")
            path.chmod(0o666)
        secret = Path(self.bait["secret"])
        if not secret.exists():
            secret.write_bytes(TOKEN)
            secret.chmod(0o644)

    def _lay_files(self) -> None:
        top = self.top
        for name in ("home", "drop", "site", "site/__pycache__"):
            (top / name).mkdir()
            (top / name).chmod(0o777)
        top.chmod(0o755)
        os.mkfifo(top / "fifo")
        (top / "fifo").chmod(0o666)
        reader = os.open(top / "fifo", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stack.callback(os.close, reader)
        self.bait |= {
            "secret": str(top / "home" / "secret"),
            "drop": str(top / "drop"),
            "file": str(top / "drop" / "file"),
            "site": str(top / "site"),
            "module": str(top / "site" / "bait_module.py"),
            "fifo": str(top / "fifo"),
        }
        self.reset()
        with contextlib.suppress(OSError):
            os.setxattr(self.bait["secret"], "user.secret", TOKEN)

    def _socket(self, key: str, family: int, kind: int, address: Any) -> None:
        sock = socket.socket(family, kind)
        self._stack.callback(sock.close)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(100)
        name = sock.getsockname()
        self.bait[key] = name[1] if isinstance(name, tuple) else address
        if isinstance(address, str):
            os.chmod(address, 0o777)
        if isinstance(address, bytes):
            self.bait[key] = address[1:].decode()

    def _open_sockets(self) -> None:
        stream, datagrams = socket.SOCK_STREAM, socket.SOCK_DGRAM
        self._socket("tcp", socket.AF_INET, stream, ("127.0.0.1", 0))
        self._socket("udp", socket.AF_INET, datagrams, ("127.0.0.1", 0))
        try:
            self._socket("tcp6", socket.AF_INET6, stream, ("::1", 0))
        except OSError:
            self.bait["tcp6"] = 1
        self._socket("unix", socket.AF_UNIX, stream, f"{self.top}/stream")
        self._socket("unix_datagrams", socket.AF_UNIX, datagrams, f"{self.top}/datagrams")
        name = f"pyproc-attack-{os.getpid()}"
        self._socket("abstract", socket.AF_UNIX, stream, b"\0" + name.encode())
        self._socket("abstract_d", socket.AF_UNIX, datagrams, b"\0" + name.encode() + b"-d")

    def _share(self) -> None:
        """Shared memory, semaphores and queues that anybody may use."""
        key = int.from_bytes(os.urandom(3), "big") + 1
        name = f"pyproc-attack-{key}"
        self.bait |= {"sysv": key, "mq": name, "posix_shm": f"/dev/shm/{name}"}
        shm = Path(self.bait["posix_shm"])
        shm.write_bytes(TOKEN)
        shm.chmod(0o666)
        self._stack.callback(shm.unlink)
        with contextlib.suppress(OSError, Refused):
            self._share_in_the_old_way(key)
        with contextlib.suppress(OSError, Refused):
            before = os.umask(0)
            try:
                os.close(syscall("mq_open", name.encode(), os.O_RDWR | os.O_CREAT, 0o666, 0))
            finally:
                os.umask(before)
            self._stack.callback(_quietly, "mq_unlink", name.encode())

    def _share_in_the_old_way(self, key: int) -> None:
        made = 0o1000 | 0o666  # IPC_CREAT
        shm = syscall("shmget", key, 4096, made)
        self._stack.callback(libc.shmctl, shm, 0, None)
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(shm, None, 0)
        ctypes.memmove(place, TOKEN, len(TOKEN))
        libc.shmdt(ctypes.c_void_p(place))
        sem = syscall("semget", key, 1, made)
        self._stack.callback(libc.semctl, sem, 0, 0, 0)
        libc.semctl(sem, 0, 16, 1000)  # SETVAL
        queue = syscall("msgget", key, made)
        self._stack.callback(libc.msgctl, queue, 0, None)
        syscall("msgsnd", queue, (ctypes.c_long * 2)(1, 0), 8, 0)

    def _start_outsider(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _OUTSIDER, TOKEN.decode(), self.bait["secret"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"SECRET": TOKEN.decode()},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._stack.callback(process.wait)
        self._stack.callback(process.stdout.close)
        self._stack.callback(process.stdin.close)
        address, fd = map(int, process.stdout.readline().split())
        self.bait |= {"outsider": process.pid, "outsider_fd": fd, "outsider_address": address}


def _quietly(name: str, *arguments: object) -> None:
    with contextlib.suppress(OSError):
        syscall(name, *arguments)


class Victim:
    """A process of the host's user that an attack is about."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        self.pid = self._process.pid
        self._before = self._state()

    def _state(self) -> tuple[object, ...]:
        import resource

        if self._process.poll() is not None:
            return ("gone",)
        pid = self.pid
        return (
            os.getpriority(os.PRIO_PROCESS, pid),
            os.sched_getaffinity(pid),
            os.sched_getscheduler(pid),
            resource.prlimit(pid, resource.RLIMIT_NOFILE),
        )

    @property
    def is_harmed(self) -> bool:
        return self._state() != self._before

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def lured() -> Iterator[Lure]:
    lure = Lure()
    try:
        yield lure
    finally:
        lure.close()
