"""Files as arguments: this very file arrives, with no more rights than meant, and nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import CodecError, File, Limits, Pool, ValidationError

APP = Path(__file__).parent / "apps" / "files_app.py"
DEADLINE = 60.0
TEXT = b"what the file holds"


def leased(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return calls.call(*args, **kwargs)


def queued(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return calls.submit(*args, **kwargs).result(DEADLINE)


def awaited(calls: Any, *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(calls.acall(*args, **kwargs))


Way = Callable[..., Any]
each_way = pytest.mark.parametrize("way", [leased, queued, awaited])


@pytest.fixture(name="pool", scope="module")
def opened() -> Iterator[Pool]:
    with Pool(APP, workers=1) as pool:
        pool.call("pid")
        yield pool


@pytest.fixture(name="path")
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    return path


def host_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- what arrives ----


@each_way
def test_a_path_is_opened_by_the_host(pool: Pool, way: Way, path: Path) -> None:
    assert way(pool, "read", File(path)) == TEXT
    assert way(pool, "read", File(str(path))) == TEXT


@each_way
def test_an_open_file_goes_as_it_is(pool: Pool, way: Way, path: Path) -> None:
    with open(path, "rb") as file:
        assert way(pool, "read", file) == TEXT
        assert way(pool, "read", file=file) == TEXT
        assert way(pool, "read_any", file, size=4) == TEXT[:4]


def test_bytes_go_as_a_file_too(pool: Pool) -> None:
    large = os.urandom(3 * 2**20)
    for source in (large, bytearray(large), memoryview(large), io.BytesIO(large)):
        assert pool.call("read_any", File(source), size=10) == large[:10]
    assert pool.call("read", File(b"")) == b""
    later = io.BytesIO(TEXT)
    later.seek(5)
    assert pool.call("read", later) == TEXT[5:]


def test_a_descriptor_goes(pool: Pool, path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.lseek(fd, 5, os.SEEK_SET)
        assert pool.call("read", File(fd)) == TEXT[5:]
        assert os.lseek(fd, 0, os.SEEK_CUR) == 5
    finally:
        os.close(fd)


def test_the_function_begins_where_the_object_stands_and_does_not_move_it(
    pool: Pool, path: Path
) -> None:
    with open(path, "rb") as file:
        assert file.read(5) == TEXT[:5]  # and the buffer has read it all
        assert pool.call("read", file) == TEXT[5:]
        assert file.read() == TEXT[5:]


def test_a_file_without_a_name_goes(pool: Pool) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(TEXT)
        file.flush()
        file.seek(0)
        assert pool.call("read", file) == TEXT
    with tempfile.NamedTemporaryFile() as named:
        named.write(TEXT)
        named.flush()
        named.seek(0)
        assert pool.call("read", named) == TEXT


def test_a_pipe_goes(pool: Pool) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, open(writer, "wb", buffering=0) as end:
        end.write(TEXT)
        assert pool.call("read_any", pipe, len(TEXT)) == TEXT


@pytest.mark.parametrize(
    "function", ["read", "read_any", "read_file", "read_buffered", "read_either", "read_maybe"]
)
def test_every_annotation_of_a_binary_file_takes_one(pool: Pool, path: Path, function: str) -> None:
    assert pool.call(function, File(path)) == TEXT


def test_an_annotation_that_also_takes_something_else_still_does(pool: Pool) -> None:
    assert pool.call("read_either", b"plain") == b"plain"
    assert pool.call("read_maybe") is None
    assert pool.call("read_maybe", None) is None
    with pytest.raises(ValidationError, match="argument 'file'"):
        pool.call("read_either", 5)
    with pytest.raises(ValidationError, match="argument 'file'"):
        pool.call("read", b"no file")
    with pytest.raises(ValidationError, match="argument 'data'"):
        pool.call("only_bytes", File(b"a file"))


def test_files_may_stand_anywhere_in_the_arguments(pool: Pool, path: Path) -> None:
    files = [File(path), File(b"second")]
    found = pool.call("read_all", files, File(b"third"), last=File(b"fourth"))
    assert found == [TEXT, b"second", b"third", b"fourth"]


def test_sixteen_files_go_and_one_more_is_refused(pool: Pool) -> None:
    files = [File(bytes([number])) for number in range(17)]
    assert pool.call("read_all", files[:16]) == [bytes([number]) for number in range(16)]
    before = host_descriptors()
    with pytest.raises(CodecError, match=r"\[16\]: a call carries at most 16 files"):
        pool.call("read_all", files)
    assert host_descriptors() == before


# ---- what the function may do with it ----


@pytest.mark.parametrize("host_mode", ["rb", "r+b"])
def test_a_file_arrives_read_only_whatever_the_host_may_do(
    pool: Pool, path: Path, host_mode: str
) -> None:
    with open(path, host_mode) as file:
        found = pool.call("describe", file)
        assert found["access"] == os.O_RDONLY
        assert found["inheritable"] is False
        assert pool.call("try_to_write", file) == "Bad file descriptor"
    assert pool.call("try_to_write", File(b"sealed")) == "Bad file descriptor"
    assert path.read_bytes() == TEXT


def test_a_mode_that_writes_lets_the_function_write(pool: Pool, path: Path) -> None:
    assert pool.call("write", File(path, "wb"), b"new") == 3
    assert path.read_bytes() == b"new"
    assert pool.call("write", File(path, "ab"), b"er") == 2
    assert path.read_bytes() == b"newer"
    assert pool.call("write", File(path, "r+b"), b"N") == 1
    assert path.read_bytes() == b"Newer"
    with open(path, "r+b") as file:
        file.seek(4)
        assert pool.call("write", File(file, "r+b"), b"R") == 1
    assert path.read_bytes() == b"NeweR"


def test_what_the_host_wrote_before_is_there(pool: Pool, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        file.write(b"buffered ")
        assert pool.call("write", File(file, "wb"), b"and more") == 8
    assert (tmp_path / "out").read_bytes() == b"buffered and more"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_a_last_write_that_fails_is_the_calls_error(tmp_path: Path) -> None:
    with Pool(APP, workers=1, limits=Limits(file_size="64KiB")) as pool:
        with pytest.raises(OSError, match="File too large"):
            pool.call("write", File(tmp_path / "out", "wb"), bytes(65 * 1024))
        assert pool.call("write", File(tmp_path / "out", "wb"), b"fits") == 4


def test_files_are_closed_after_the_call(pool: Pool, path: Path) -> None:
    before = pool.call("descriptors")
    assert pool.call("descriptors", File(path)) == before + 1
    pool.call("keep", File(path))
    assert pool.call("is_kept_closed") is True
    pool.call("close_it", File(path))
    with pytest.raises(ValueError, match="what the file holds"):
        pool.call("fail", File(path))
    with pytest.raises(ValidationError):
        pool.call("only_bytes", File(path))
    with pytest.raises(pyproc.UnknownFunction):
        pool.call("nothing", File(path))
    assert pool.call("descriptors") == before


# ---- what cannot go ----


def test_what_is_no_file_is_refused_by_name(pool: Pool, tmp_path: Path) -> None:
    with open(tmp_path / "text", "w") as text, pytest.raises(CodecError, match="open as text"):
        pool.call("read", text)
    directory = os.open(tmp_path, os.O_RDONLY)
    path_only = os.open(tmp_path / "text", os.O_PATH)
    left, right = socket.socketpair()
    with contextlib.ExitStack() as stack:
        for fd in (directory, path_only):
            stack.callback(os.close, fd)
        stack.enter_context(left)
        stack.enter_context(right)
        for source, words in (
            (directory, "no directory, socket or device"),
            (left, "no directory, socket or device"),
            (path_only, "O_PATH"),
        ):
            with pytest.raises(CodecError, match=f"argument 0: .*{words}"):
                pool.call("read", File(source))
    with open("/dev/null", "rb") as device, pytest.raises(CodecError, match="device"):
        pool.call("read", device)


def test_a_file_without_the_access_is_refused(pool: Pool, path: Path) -> None:
    with open(path, "rb") as file:
        with pytest.raises(CodecError, match="open for reading only"):
            pool.call("write", File(file, "r+b"), b"x")
        with pytest.raises(CodecError, match="open for reading only"):
            pool.call("write", File(file, "wb"), b"x")
    with open(path, "ab") as added:
        with pytest.raises(CodecError, match="open for writing only"):
            pool.call("read", added)
        with pytest.raises(CodecError, match="for appending only"):
            pool.call("write", File(added, "wb"), b"x")
    with pytest.raises(CodecError, match="the file is closed"):
        pool.call("read", added)


def test_what_cannot_be_opened_is_the_errors_own_type(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pool.call("read", File(tmp_path / "missing"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CodecError, match="not a regular file"):
        pool.call("read", File(tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((None,), TypeError, "NoneType"),
        ((True,), TypeError, "bool"),
        (("x", "r"), ValueError, "mode='r'"),
        (("x", "rt"), ValueError, "mode='rt'"),
        ((b"x", "wb"), ValueError, "bytes can only be read"),
    ],
)
def test_a_bad_file_is_refused_at_once(
    arguments: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        File(*arguments)


def test_a_file_is_no_item_and_no_result(pool: Pool, path: Path) -> None:
    with pytest.raises(CodecError, match="not as an item of a map"):
        list(pool.map("read", [File(path)]))
    with pytest.raises(CodecError, match="as a result"):
        pool.call("give_back", File(path))


def test_a_worker_without_room_for_the_descriptors_fails_the_call_only() -> None:
    with Pool(APP, workers=1, limits=Limits(open_files=20)) as pool:
        before = pool.call("descriptors"), pool.call("pid")
        with pytest.raises(OSError, match="Too many open files"):
            pool.call("read_all", [File(b"x") for _ in range(16)])
        assert pool.call("read", File(b"one")) == b"one"
        assert (pool.call("descriptors"), pool.call("pid")) == before
