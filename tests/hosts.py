"""Host programs of their own, for what a test cannot do to the process it runs in.

A host runs as a child; this process is made a subreaper meanwhile, so that whatever the host
leaves behind comes to us and is counted, however it changed session or group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import TracebackType

#: Seconds that anything a host is waited for may take.
DEADLINE = 60.0
_SET_CHILD_SUBREAPER = 36
_HEAD = """\
import os, signal, sys, threading, time, warnings
import pyproc
from pyproc import Limits, Pool, Timeouts
# Background jobs of a shell, and what nohup runs, have these ignored, and so their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
def say(*words):
    print(*words, flush=True)
"""


def parents() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{name}/stat").read_text(errors="replace")
                found[int(name)] = int(text.rpartition(")")[2].split()[1])
    return found


def descendants(root: int) -> set[int]:
    """All processes below `root`."""
    found: set[int] = set()
    tree = parents()
    fresh = {root}
    while fresh:
        fresh = {pid for pid, parent in tree.items() if parent in fresh} - found
        found |= fresh
    return found


def is_gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def wait_gone(pids: set[int], seconds: float = DEADLINE) -> set[int]:
    """Those of `pids` that still live at the deadline; answers as soon as none does."""
    limit = time.monotonic() + seconds
    while True:
        pids = {pid for pid in pids if not is_gone(pid)}
        if not pids or time.monotonic() > limit:
            return pids
        time.sleep(0.005)


def python_path(*folders: Path) -> str:
    """These folders, before what a sanitised run has put there."""
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join(filter(None, [*map(str, folders), before]))


class Host:
    """A running host program. `source` sees pyproc, Pool, Limits, Timeouts, os, signal, sys,
    threading, time, warnings and `say`, which prints a line that `expect` waits for."""

    def __init__(self, scratch: Path, source: str, *arguments: object, **env: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._before = descendants(os.getpid())
        self._errors = scratch / f"stderr-{time.monotonic_ns()}"
        program = scratch / f"host_{time.monotonic_ns()}.py"
        program.write_text(_HEAD + textwrap.dedent(source))
        assert self._libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "default", str(program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": python_path(Path(__file__).parent), **env},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.output = ""

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: object, trace: TracebackType | None
    ) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self.left(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def expect(self, line: str, seconds: float = DEADLINE) -> str:
        """Reads what the host says up to a line that starts with `line`; answers that line."""
        limit = time.monotonic() + seconds
        while True:
            for found in self.output.splitlines(keepends=True):
                if found.startswith(line) and found.endswith("\n"):
                    return found.rstrip("\n")
            assert self._read(limit), f"{line!r} did not come: {self.output!r} {self.errors()}"

    def _read(self, limit: float) -> bool:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0.0, limit - time.monotonic()))
        data = os.read(fd, 65536) if ready else b""
        if not data:
            time.sleep(0.005)  # also at its end, where select never waits
        self.output = (self.output + data.decode(errors="replace"))[-1_000_000:]
        return bool(data)

    def signal(self, number: int) -> None:
        """Sends a signal to the host alone."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """The host's exit code; fails with what it said when it does not end in time."""
        limit = time.monotonic() + seconds
        while (code := self._process.poll()) is None:
            assert time.monotonic() < limit, (
                f"the host did not end in {seconds} s: {self.output[-500:]!r} {self.errors()}"
            )
            self._read(time.monotonic() + 0.02)
        limit = time.monotonic() + 1
        while self._read(limit):
            pass
        return code

    def errors(self) -> str:
        """What the host wrote to stderr so far."""
        return self._errors.read_text(errors="replace")

    def family(self) -> set[int]:
        """The host's processes, also those that lost their parents; not the host itself."""
        return {
            pid for pid in descendants(os.getpid()) - self._before - {self.pid} if not is_gone(pid)
        }

    def left(self, seconds: float = 5.0) -> set[int]:
        """What is left of the family at the deadline; answers as soon as nothing is."""
        limit = time.monotonic() + seconds
        while True:
            left = self.family()
            # After that look, not before: what ended meanwhile counts as gone, and is ours to reap.
            self._reap()
            if not left or time.monotonic() > limit:
                return left
            time.sleep(0.005)

    def _reap(self) -> None:
        """Waits for what has ended of those that came to us when their parent ended."""
        for pid, parent in parents().items():
            if parent == os.getpid() and pid != self.pid and pid not in self._before:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
