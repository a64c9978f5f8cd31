"""Exceptions that cannot be read, made again or printed as they are."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import CodecError, Pool, RemoteError

APP = Path(__file__).with_name("apps") / "odd_app.py"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1) as opened:
        yield opened


def _call(pool: Pool, name: str) -> Any:
    return pool.call("fail", name)


def _submit(pool: Pool, name: str) -> Any:
    return pool.submit("fail", name).result(60)


def _acall(pool: Pool, name: str) -> Any:
    async def main() -> Any:
        return await pool.acall("fail", name)

    return asyncio.run(main())


def _map(pool: Pool, name: str) -> Any:
    return next(pool.map("fail", [name]))


Way = Callable[[Pool, str], Any]
every_way = pytest.mark.parametrize("way", [_call, _submit, _acall, _map])


def caught(pool: Pool, name: str, way: Way = _call) -> Exception:
    """What comes back; the worker that made it must be the one that goes on."""
    before = pool.call("pid")
    with pytest.raises(Exception) as info:
        way(pool, name)
    assert pool.call("pid") == before
    assert "".join(traceback.format_exception(info.value))
    return info.value


@every_way
@pytest.mark.parametrize(
    "name",
    ["StrExits", "StrInterrupts", "StrNeverEnds", "StrIsNoText", "ArgsRaise", "DictRaises",
     "NothingReadable", "OwnValueError", "JSONDecodeError", "CancelledError", "PoolClosed"],
)  # fmt: skip
def test_a_class_that_the_host_does_not_make_is_named(pool: Pool, way: Way, name: str) -> None:
    error = caught(pool, name, way)
    assert type(error) is RemoteError
    assert error.type_name.rpartition(".")[2] == name


@every_way
def test_a_class_without_a_readable_name_is_an_error_all_the_same(pool: Pool, way: Way) -> None:
    error = caught(pool, "NameRaises", way)
    assert isinstance(error, RemoteError)
    assert "without a name" in error.type_name


@every_way
def test_an_argument_that_cannot_be_shown_costs_only_itself(pool: Pool, way: Way) -> None:
    error = caught(pool, "argument exits", way)
    assert isinstance(error, RemoteError)
    assert error.type_name == "ValueError"


def test_what_an_own_class_carries_is_there_as_data(pool: Pool) -> None:
    error = caught(pool, "OwnValueError")
    assert isinstance(error, RemoteError)
    assert error.message == "this and that"
    assert error.attributes == {"one": "this", "two": "that"}


@every_way
@pytest.mark.parametrize("name", ["future cancelled", "CancelledError"])
def test_a_functions_cancelled_error_does_not_cancel_the_host(
    pool: Pool, way: Way, name: str
) -> None:
    assert isinstance(caught(pool, name, way), RemoteError)


@every_way
def test_a_functions_timeout_is_its_own(pool: Pool, way: Way) -> None:
    error = caught(pool, "TimeoutError", way)
    assert type(error) is TimeoutError
    assert str(error) == "mine"


@every_way
@pytest.mark.parametrize(
    ("name", "kind", "args"),
    [
        ("surrogate", ValueError, ("\ud800",)),
        ("zero byte", ValueError, ("a\0b",)),
        ("SyntaxError", SyntaxError, ("bad", ("f.py", 1, 2, "x = (", 1, 3))),
    ],
)
def test_builtin_arguments_of_every_kind_come_back(
    pool: Pool, way: Way, name: str, kind: type[Exception], args: tuple[Any, ...]
) -> None:
    error = caught(pool, name, way)
    assert type(error) is kind
    assert error.args == args


def test_builtin_fields_beside_the_arguments_come_back(pool: Pool) -> None:
    error = caught(pool, "ImportError")
    assert isinstance(error, ImportError)
    assert (error.name, error.path) == ("thing", "/place")
    error = caught(pool, "two files")
    assert isinstance(error, FileNotFoundError)
    assert (error.filename, error.filename2) == ("one", "two")


@every_way
@pytest.mark.parametrize("name", ["long chain", "circle"])
def test_a_chain_without_end_is_cut(pool: Pool, way: Way, name: str) -> None:
    error: BaseException | None = caught(pool, name, way)
    assert isinstance(error, ValueError)
    for _ in range(1000):
        error = error.__cause__ if error is not None else None
    assert error is None


@every_way
@pytest.mark.parametrize(("name", "message"), [("wide group", "wide"), ("deep group", "around")])
def test_a_huge_group_is_cut(pool: Pool, way: Way, name: str, message: str) -> None:
    error = caught(pool, name, way)
    assert isinstance(error, ExceptionGroup)
    assert error.message == message
    assert 1 <= len(error.exceptions) < 1000


@every_way
def test_a_group_of_exits_does_not_leave_the_host(pool: Pool, way: Way) -> None:
    error = caught(pool, "group of exits", way)
    assert isinstance(error, ExceptionGroup)
    first, second = error.exceptions
    assert isinstance(first, RemoteError)
    assert first.type_name == "SystemExit"
    assert isinstance(second, ValueError)


@every_way
@pytest.mark.parametrize("name", ["notes are a number", "notes of all kinds"])
def test_notes_that_are_no_text_are_shown_as_text(pool: Pool, way: Way, name: str) -> None:
    error = caught(pool, name, way)
    assert all(type(note) is str for note in error.__notes__)
    assert any("5" in note for note in error.__notes__)


@every_way
def test_more_arguments_than_fit_leave_the_message(pool: Pool, way: Way) -> None:
    error = caught(pool, "100000 arguments", way)
    assert isinstance(error, ValueError | RemoteError)
    assert "(0, 1, 2, 3" in str(error)


def test_what_was_hidden_from_printing_stays_hidden(pool: Pool) -> None:
    with pytest.raises(ValueError, match="after") as info:
        pool.call("hide_what_was_before")
    assert info.value.__suppress_context__
    assert isinstance(info.value.__context__, KeyError)
    shown = "".join(traceback.format_exception(info.value))
    assert "KeyError: 'before'" not in shown


def test_an_application_may_hold_a_proxy_that_no_one_may_look_at(pool: Pool) -> None:
    with pytest.raises(CodecError, match=r"result\[0\].*outside of a request"):
        pool.call("get_proxy")


def test_one_bad_item_of_a_chunk_costs_no_other(pool: Pool) -> None:
    before = pool.call("pid")
    names = ["NothingReadable", "StrExits", "surrogate", "CancelledError"] * 5
    found = list(pool.map("fail", names, chunksize=20, return_exceptions=True))
    kinds = [type(error).__name__ for error in found]
    assert kinds == ["RemoteError", "RemoteError", "ValueError", "RemoteError"] * 5
    assert pool.call("pid") == before
