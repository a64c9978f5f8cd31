"""What a function raises, and how it comes back."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, RemoteError

APP = Path(__file__).with_name("apps") / "raising_app.py"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1) as opened:
        yield opened


def _call(pool: Pool, *args: Any) -> Any:
    return pool.call(*args)


def _submit(pool: Pool, *args: Any) -> Any:
    return pool.submit(*args).result(60)


def _acall(pool: Pool, *args: Any) -> Any:
    async def main() -> Any:
        return await pool.acall(*args)

    return asyncio.run(main())


def _map(pool: Pool, function: str, argument: Any) -> Any:
    return next(pool.map(function, [argument]))


WAYS = [_call, _submit, _acall, _map]
Way = Callable[..., Any]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "kind", "args"),
    [
        ("ValueError", ValueError, ("ValueError",)),
        ("KeyError", KeyError, ("key",)),
        ("OSError", FileNotFoundError, (2, "not there")),
        ("UnicodeDecodeError", UnicodeDecodeError, ("utf-8", b"\xff", 0, 1, "bad byte")),
        ("MemoryError", MemoryError, ()),
    ],
)
def test_a_builtin_exception_comes_back_as_itself(
    pool: Pool, way: Way, name: str, kind: type[Exception], args: tuple[Any, ...]
) -> None:
    with pytest.raises(kind) as caught:
        way(pool, "fail", name)
    assert type(caught.value) is kind
    assert caught.value.args == args


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name",
    ["Own", "OddInit", "Unprintable", "Base", "SystemExit", "KeyboardInterrupt", "GeneratorExit",
     "StopIteration", "StopAsyncIteration"],
)  # fmt: skip
def test_others_come_back_as_a_remote_error_and_the_worker_goes_on(
    pool: Pool, way: Way, name: str
) -> None:
    before = pool.call("pid")
    with pytest.raises(RemoteError) as caught:
        way(pool, "fail", name)
    assert caught.value.type_name.rpartition(".")[2] == name
    assert pool.call("pid") == before


def test_sys_exit_is_a_failure_of_the_call(pool: Pool) -> None:
    before = pool.call("pid")
    with pytest.raises(RemoteError, match="bye"):
        pool.call("leave")
    assert pool.call("pid") == before


def test_a_files_error_keeps_its_name(pool: Pool) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        pool.call("fail", "OSError")
    assert caught.value.filename == "/no/such"


@pytest.mark.parametrize("way", WAYS)
def test_the_workers_traceback_is_shown(pool: Pool, way: Way) -> None:
    with pytest.raises(ValueError) as caught:
        way(pool, "fail", "ValueError")
    assert "in fail" in caught.value.remote_traceback  # type: ignore[attr-defined]
    shown = "".join(traceback.format_exception(caught.value))
    assert "raising_app.py" in shown
    assert "ValueError: ValueError" in shown


def test_causes_come_along(pool: Pool) -> None:
    with pytest.raises(ValueError, match="third") as caught:
        pool.call("chained", False)
    assert isinstance(caught.value.__context__, RemoteError)
    assert isinstance(caught.value.__context__.__cause__, KeyError)
    with pytest.raises(ValueError, match="third") as caught:
        pool.call("chained", True)
    assert caught.value.__suppress_context__


def test_notes_come_along(pool: Pool) -> None:
    with pytest.raises(ValueError) as caught:
        pool.call("noted")
    assert caught.value.__notes__[:2] == ["look here", "and there"]


@pytest.mark.parametrize("way", WAYS)
def test_groups_are_made_again(pool: Pool, way: Way) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        way(pool, "fail", "group")
    matched, _ = caught.value.split(KeyError)
    assert matched is not None
    first, inner = caught.value.exceptions
    assert isinstance(first, ValueError)
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[1], RemoteError)


def test_arguments_that_cannot_go_cost_only_themselves(pool: Pool) -> None:
    with pytest.raises((ValueError, RemoteError), match="text"):
        pool.call("fail", "unencodable")


@pytest.mark.parametrize("way", WAYS)
def test_an_endless_recursion_is_an_exception(pool: Pool, way: Way) -> None:
    before = pool.call("pid")
    with pytest.raises(RecursionError):
        way(pool, "endless", 0)
    assert pool.call("pid") == before


@pytest.mark.parametrize("way", WAYS)
def test_a_huge_message_is_cut(pool: Pool, way: Way) -> None:
    with pytest.raises((ValueError, RemoteError)) as caught:
        way(pool, "fail", "huge")
    assert 1000 < len(str(caught.value)) < 1_000_000


@pytest.mark.parametrize("name", ["ValueError", "Own", "group"])
def test_what_came_back_can_be_pickled(pool: Pool, name: str) -> None:
    with pytest.raises(Exception) as caught:
        pool.call("fail", name)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)


def test_an_unknown_function_is_a_lookup_error(pool: Pool) -> None:
    with pytest.raises(LookupError, match="chained, endless, fail"):
        pool.call("missing")
    assert issubclass(pyproc.UnknownFunction, pyproc.Error)
