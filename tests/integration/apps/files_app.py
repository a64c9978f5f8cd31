"""Functions that get open files."""

from __future__ import annotations

import fcntl
import io
import os
from typing import Any, BinaryIO

import pyproc
from pyproc import App

app = App()
kept: list[Any] = []


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def read(file: BinaryIO) -> bytes:
    return file.read()


@app.expose
def read_any(file: Any, size: int = -1) -> bytes:
    return file.read(size)


@app.expose
def read_file(file: pyproc.File) -> bytes:
    return file.read()  # type: ignore[attr-defined, no-any-return]


@app.expose
def read_buffered(file: io.BufferedReader) -> bytes:
    return file.read()


@app.expose
def read_either(file: bytes | BinaryIO) -> bytes:
    return file if isinstance(file, bytes) else file.read()


@app.expose
def read_maybe(file: BinaryIO | None = None) -> bytes | None:
    return None if file is None else file.read()


@app.expose
def read_all(files: list[BinaryIO], *more: BinaryIO, **named: BinaryIO) -> list[bytes]:
    return [file.read() for file in (*files, *more, *named.values())]


@app.expose
def only_bytes(data: bytes) -> int:
    return len(data)


@app.expose
def write(file: BinaryIO, data: bytes) -> int:
    return file.write(data)


@app.expose
def describe(file: BinaryIO) -> dict[str, Any]:
    fd = file.fileno()
    return {
        "mode": getattr(file, "mode", None),
        "access": fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE,
        "inheritable": os.get_inheritable(fd),
        "position": file.tell() if file.seekable() else None,
        "kind": type(file).__name__,
    }


@app.expose
def try_to_write(file: BinaryIO) -> str:
    try:
        os.write(file.fileno(), b"evil")
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "written"


@app.expose
def keep(file: BinaryIO) -> int:
    kept.append(file)
    return file.fileno()


@app.expose
def is_kept_closed() -> bool:
    return bool(kept[-1].closed)


@app.expose
def close_it(file: BinaryIO) -> None:
    file.close()


@app.expose
def give_back(file: BinaryIO) -> Any:
    return file


@app.expose
def descriptors(file: Any = None) -> int:
    return len(os.listdir("/proc/self/fd"))


@app.expose
def fail(file: BinaryIO) -> None:
    raise ValueError(file.read().decode())


@app.expose
def die(file: BinaryIO) -> None:
    os._exit(3)


@app.expose
def die_once(file: BinaryIO, marker: str) -> bytes:
    """Dies at the first attempt, having read it all."""
    data = file.read()
    if not os.path.exists(marker):
        with open(marker, "wb"):
            os._exit(3)
    return data


@app.expose
def wait_for(path: str) -> None:
    """Until somebody opens the pipe for writing."""
    with open(path, "rb") as pipe:
        pipe.read()
