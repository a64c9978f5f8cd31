"""Paths from outside stay below the directory that was meant for them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pyproc import UnsafePath, open_beneath, safe_path

SECRET = b"secret"


@pytest.fixture(name="base")
def directory(tmp_path: Path) -> Path:
    """data/, with a file and a directory in it, beside data-secret/ and a secret file."""
    base = tmp_path / "data"
    (base / "inner").mkdir(parents=True)
    (base / "inner" / "file").write_bytes(b"public")
    (tmp_path / "data-secret").mkdir()
    (tmp_path / "data-secret" / "file").write_bytes(SECRET)
    (tmp_path / "secret").write_bytes(SECRET)
    (base / "link").symlink_to(tmp_path / "secret")
    (base / "inward").symlink_to("inner")
    (base / "outward").symlink_to("..")
    (base / "dangling").symlink_to("nowhere")
    return base


ATTACKS = {
    "../secret": "holds '..'",
    "inner/../../secret": "holds '..'",
    "inner/../inner/file": "holds '..'",
    "..": "holds '..'",
    "../data-secret/file": "holds '..'",
    "/etc/passwd": "is absolute",
    "//etc/passwd": "is absolute",
    "": "is empty",
    ".": "is empty",
    "./": "is empty",
    "inner/file\0.png": "holds a NUL",
    "link": "symbolic link",
    "inward/file": "symbolic link",
    "outward/secret": "symbolic link",
    "outward/data-secret/file": "symbolic link",
    "dangling": "symbolic link",
    "dangling/new": "symbolic link",
    "a/" * 300 + "b": "more than 256 parts",
}


@pytest.mark.parametrize("path", ATTACKS)
def test_a_path_that_leaves_the_directory_is_refused(base: Path, path: str) -> None:
    with pytest.raises(UnsafePath, match=ATTACKS[path]):
        safe_path(base, path)
    for mode in ("rb", "wb", "ab", "r+b"):
        with pytest.raises(UnsafePath, match=ATTACKS[path]):
            open_beneath(base, path, mode)


def test_an_absolute_path_to_a_sibling_with_the_same_beginning_is_refused(base: Path) -> None:
    with pytest.raises(UnsafePath):
        safe_path(base, f"{base}-secret/file")


@pytest.mark.parametrize(
    "path", ["inner/file", "./inner//file", "inner/./file", "new", "new/deep", "...", "a..b", "~"]
)
def test_a_path_below_is_answered_whether_it_exists_or_not(base: Path, path: str) -> None:
    found = safe_path(base, path)
    assert found == os.path.normpath(base / path)
    assert found.startswith(f"{base}{os.sep}")


def test_the_directory_itself_may_be_reached_by_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(base)
    with open_beneath(tmp_path / "alias", "inner/file") as file:
        assert file.read() == b"public"


def test_a_relative_base_is_that_of_the_moment(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent)
    assert safe_path("data", "inner/file") == str(base / "inner" / "file")


def test_files_are_read_written_and_made(base: Path) -> None:
    with open_beneath(base, "inner/new", "w", encoding="utf-8") as file:
        file.write("text")
    with open_beneath(base, "inner/new", "ab") as file:
        file.write(b"more")
    with open_beneath(base, "inner/new", "r") as file:
        assert file.read() == "textmore"
    with open_beneath(base, "inner/new", "wb"):
        pass
    assert (base / "inner" / "new").read_bytes() == b""
    with pytest.raises(FileExistsError):
        open_beneath(base, "inner/new", "xb")
    with pytest.raises(FileNotFoundError):
        open_beneath(base, "inner/other")


def test_what_is_no_file_is_refused_without_waiting(base: Path) -> None:
    os.mkfifo(base / "pipe")
    with pytest.raises((UnsafePath, OSError)):
        open_beneath(base, "pipe")
    with pytest.raises((UnsafePath, IsADirectoryError)):
        open_beneath(base, "inner")
    with pytest.raises(NotADirectoryError):
        open_beneath(base, "inner/file/deeper")


def test_a_base_that_is_not_there_is_an_os_error(base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_path(base / "missing", "file")
    with pytest.raises(NotADirectoryError):
        safe_path(base / "inner" / "file", "file")


@pytest.mark.parametrize("path", [b"inner/file", 3, None])
def test_only_text_is_a_path(base: Path, path: Any) -> None:
    with pytest.raises(TypeError):
        safe_path(base, path)


def test_a_directory_that_turns_into_a_link_never_leads_out(base: Path, tmp_path: Path) -> None:
    """Somebody swaps it all the time; each opening is inside or refused."""
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "file").write_bytes(SECRET)
    (base / "spare").symlink_to(evil)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(base / "inner", base / "aside")
            os.rename(base / "spare", base / "inner")
            os.rename(base / "inner", base / "spare")
            os.rename(base / "aside", base / "inner")

    swapper = threading.Thread(target=swap)
    swapper.start()
    contents = set()
    try:
        for _ in range(3000):
            try:
                with open_beneath(base, "inner/file") as file:
                    contents.add(file.read())
            except (UnsafePath, OSError):
                continue
    finally:
        over.set()
        swapper.join()
    assert contents <= {b"public"}


def test_descriptors_do_not_pile_up(base: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in [*ATTACKS, "inner/file", "inner/file/x", "no/such"]:
        for mode in ("rb", "r+b"):
            try:
                safe_path(base, path)
                open_beneath(base, path, mode).close()
            except (UnsafePath, OSError):
                continue
    assert len(os.listdir("/proc/self/fd")) == before
