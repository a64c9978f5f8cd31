"""What an item writes, in files that outlive its worker.

pytest's own capture keeps the output in files that nobody can reach once the process has
crashed. Here descriptors 1 and 2 go to files of a directory that the host made, phase by phase;
where the worker may not write there they are its own memory, and a crash loses them. The
journal keeps reports likewise, so that a crash costs none that was made before.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

STREAMS = {1: "stdout", 2: "stderr"}
JOURNAL = "reports"
#: Bytes of one phase and stream that are shown; the end of them.
_SHOWN_MAX = 2**20


def _open(directory: str, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(os.path.join(directory, name), flags, 0o600)
    except OSError:  # a sandbox says no
        return os.memfd_create(f"pyproc-{name}")


class Capture:
    """Descriptors 1 and 2 into files, from now on."""

    def __init__(self, directory: str) -> None:
        self._files = {fd: _open(directory, name) for fd, name in STREAMS.items()}
        self._taken = dict.fromkeys(STREAMS, 0)
        _flush()
        for fd, file in self._files.items():
            os.dup2(file, fd)

    def clear(self) -> None:
        """A new item."""
        _flush()
        for fd, file in self._files.items():
            os.ftruncate(file, 0)
            self._taken[fd] = 0

    def take(self) -> Iterator[tuple[str, str]]:
        """Stream and text of what was written since the last time."""
        _flush()
        for fd, file in self._files.items():
            size = os.fstat(file).st_size
            start = max(self._taken[fd], size - _SHOWN_MAX)
            text = os.pread(file, size - start, start).decode("utf-8", "backslashreplace")
            if start > self._taken[fd]:
                text = f"[{start - self._taken[fd]} bytes left out]\n{text}"
            self._taken[fd] = size
            if text:
                yield STREAMS[fd], text


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # (closed or replaced by a test)
            pass


class Journal:
    """Reports, a line of JSON each."""

    def __init__(self, directory: str) -> None:
        self._file = _open(directory, JOURNAL)

    def clear(self) -> None:
        """A new item."""
        os.ftruncate(self._file, 0)

    def add(self, data: dict[str, Any]) -> None:
        """Keeps one."""
        line = memoryview(json.dumps(data).encode() + b"\n")
        while line:
            line = line[os.write(self._file, line) :]
