"""Functions that print, and functions that do to descriptors what they should not."""

import ctypes
import io
import logging
import os
import subprocess
import sys
from typing import Any

import pyproc

app = pyproc.App()
LIBC = ctypes.CDLL(None)


@app.expose
def add(a: int, b: int) -> int:
    return a + b


@app.expose
def double(n: int) -> int:
    return 2 * n


@app.expose
def crash() -> None:
    ctypes.string_at(0)


@app.expose
def prints(text: str, end: str = "\n") -> None:
    print(text, end=end)


@app.expose
def complains(text: str) -> None:
    print(text, file=sys.stderr)


@app.expose
def writes(fd: int, data: bytes) -> int:
    return os.write(fd, data)


@app.expose
def puts(text: bytes) -> None:
    LIBC.puts(text)
    LIBC.fflush(None)


@app.expose
def runs(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode


@app.expose
def prints_many(word: str, count: int) -> int:
    for n in range(count):
        print(f"{word}-{n}-" + word * 200)
    return count


@app.expose
def writes_in_pieces(word: str, count: int) -> None:
    for _ in range(count):
        for letter in word:
            os.write(1, letter.encode())
        os.write(1, b"\n")


@app.expose
def prints_and_dies(text: str) -> None:
    print(text, end="", flush=True)
    os._exit(3)


@app.expose
def asks() -> str:
    return input("your name? ")


@app.expose
def reads() -> str:
    return sys.stdin.read()


@app.expose
def log(name: str, level: int, text: str) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(1)
    logger.log(level, "%s!", text)


@app.expose
def log_exception(name: str) -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        logging.getLogger(name).exception("searching")


@app.expose
def log_extra(name: str, extra: dict[str, object]) -> None:
    logging.getLogger(name).error("look", extra=extra)


@app.expose
def log_behind(name: str, extra: dict[str, object]) -> None:
    """As a hostile worker might: logging itself refuses such names."""
    logger = logging.getLogger(name)
    record = logger.makeRecord(name, logging.ERROR, "here", 1, "look", (), None)
    record.__dict__.update(extra)
    logger.handle(record)


@app.expose
def log_and_fail(name: str, count: int) -> None:
    for n in range(count):
        logging.getLogger(name).error("record %d", n)
    raise ValueError("after the records")


@app.expose
def log_item_and_fail(count: int) -> None:
    log_and_fail("late", count)


@app.expose
def log_and_crash(name: str) -> None:
    logging.getLogger(name).error("words")
    crash()


@app.expose
def log_badly(name: str) -> int:
    logger = logging.getLogger(name)
    logger.warning("%d", "no number")
    return 1


@app.expose
def log_many(name: str, count: int) -> int:
    for n in range(count):
        logging.getLogger(name).warning("%d %s", n, "x" * 1000)
    return count


# ---- what should not be done to descriptors 0 to 2; each is followed by other calls ----


def close_all() -> None:
    for fd in (0, 1, 2):
        os.close(fd)


def close_streams() -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


def reopen_as_file() -> None:
    for fd in (0, 1, 2):
        os.close(fd)
        assert os.open(os.devnull, os.O_RDWR) == fd


def reopen_as_socket() -> None:
    import socket

    pair = socket.socketpair()
    for fd in (0, 1, 2):
        os.dup2(pair[0].fileno(), fd)
    for end in pair:
        end.close()


def swap() -> None:
    os.dup2(2, 1)
    os.dup2(0, 2)


def output_to_broken_pipe() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    for fd in (1, 2):
        os.dup2(write_end, fd)
    os.close(write_end)


def replace_streams() -> None:
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()


def remove_streams() -> None:
    streams: Any = sys
    streams.stdin = streams.stdout = streams.stderr = None


def delete_streams() -> None:
    del sys.stdin, sys.stdout, sys.stderr


def break_streams() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("no writing")

        def flush(self) -> None:
            raise RuntimeError("no flushing")

    sys.stdout, sys.stderr = Broken(), Broken()


def detach_buffer() -> None:
    sys.stdout.detach()


def make_nonblocking() -> None:
    for fd in (0, 1, 2):
        os.set_blocking(fd, False)


def fill_with_noise() -> None:
    for fd in (1, 2):
        os.write(fd, bytes(range(256)) * 16)


def close_by_closerange() -> None:
    os.closerange(0, 3)


MISDEEDS = {
    deed.__name__: deed
    for deed in (
        close_all,
        close_streams,
        reopen_as_file,
        reopen_as_socket,
        swap,
        output_to_broken_pipe,
        replace_streams,
        remove_streams,
        delete_streams,
        break_streams,
        detach_buffer,
        make_nonblocking,
        fill_with_noise,
        close_by_closerange,
    )
}


@app.expose
def misbehave(name: str) -> int:
    MISDEEDS[name]()
    return os.getpid()


@app.expose
def misbehave_and_print(name: str) -> None:
    MISDEEDS[name]()
    print("after it")


@app.expose
def open_file_here(path: str) -> tuple[int, str]:
    """A file opened after a misdeed takes the lowest free descriptor."""
    with open(path, "w") as file:
        file.write("mine")
        file.flush()
        return file.fileno(), os.readlink(f"/proc/self/fd/{file.fileno()}")
