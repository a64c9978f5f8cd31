"""pool.proxy(Protocol): typed methods for the workers' functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

import pyproc
from pyproc import Pool, proxies

APP = Path(__file__).with_name("apps") / "proxied_app.py"


@dataclass
class Page:
    number: int
    text: str


@runtime_checkable
class Docs(Protocol):
    def extract(self, data: bytes, page: int = 0, *, dpi: int = 72) -> str:
        """The text of a page."""
        ...

    def page(self, number: int) -> Page: ...
    async def later(self, n: int) -> int: ...
    def count(self, n: int) -> Iterator[int]: ...
    def acount(self, n: int) -> AsyncIterator[int]: ...
    def strict(self, *, name: str) -> str: ...
    def anything(self, *args: Any, **kwargs: Any) -> list[Any]: ...
    def cached(self, n: int, more: int = 3) -> int: ...


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1) as it:
        it.submit("cached", 1).result(60)  # its threads are there from now on
        asyncio.run(it.acall("cached", 1))
        yield it


def test_each_kind_of_method_calls_its_function(pool: Pool) -> None:
    docs = pool.proxy(Docs)
    assert docs.extract(b"x", dpi=100) == "x 0 100"
    assert docs.page(3) == Page(3, "text")
    assert list(docs.count(3)) == [0, 1, 2]
    assert docs.strict(name="a") == "a"
    assert docs.anything(1, b=2) == [[1], {"b": 2}]
    assert docs.cached(2) == 6
    assert isinstance(docs, Docs)
    assert docs.extract.__doc__ == "The text of a page."

    async def use() -> list[int]:
        return [await docs.later(1), *[n async for n in docs.acount(2)]]

    assert asyncio.run(use()) == [2, 0, 1]
    with pytest.raises(AttributeError, match="has no 'missing': extract, page"):
        docs.missing()  # type: ignore[attr-defined]


def test_awaitables_and_futures_are_ways_to_call(pool: Pool) -> None:
    class Ways(Protocol):
        def later(self, n: int) -> Awaitable[int]: ...
        def cached(self, n: int) -> Future[int]: ...

    ways = pool.proxy(Ways)
    assert ways.cached(2).result(60) == 6

    async def use() -> int:
        return await ways.later(5)

    assert asyncio.run(use()) == 6


def test_a_proxy_has_the_options_of_its_calls(pool: Pool) -> None:
    class Lying(Protocol):
        def lies(self, n: int) -> int: ...

    with pytest.raises(pyproc.ValidationError, match="result"):  # it says int and answers str
        pool.proxy(Lying).lies(1)
    said: object = pool.options(result_type=str, timeout=60).proxy(Lying).lies(1)
    assert said == "1"


class Unknown(Protocol):
    def extrakt(self, data: bytes) -> str: ...


class Renamed(Protocol):
    def extract(self, data: bytes, pages: int = 0) -> str: ...


class Surplus(Protocol):
    def page(self, number: int, zoom: float) -> str: ...


class Lacking(Protocol):
    def page(self) -> Page: ...


class ByPlace(Protocol):
    def strict(self, name: str) -> str: ...


class LeftOut(Protocol):
    def page(self, number: int = 1) -> Page: ...


class OtherDefault(Protocol):
    def extract(self, data: bytes, page: int = 1) -> str: ...


class OtherType(Protocol):
    def extract(self, data: str) -> str: ...


class OtherResult(Protocol):
    def extract(self, data: bytes) -> int: ...


class NoStream(Protocol):
    def count(self, n: int) -> list[int]: ...


class AwaitedStream(Protocol):
    async def acount(self, n: int) -> AsyncIterator[int]: ...


class Attribute(Protocol):
    size: int


class Property(Protocol):
    @property
    def page(self) -> int: ...


class Unreadable(Protocol):
    def page(self, number: "Missing") -> Page: ...  # type: ignore[name-defined] # noqa: F821, UP037


class Empty(Protocol): ...


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Unknown, r"extrakt\(\) is not exposed; did you mean 'extract'\? there are: extract, page"),
        (Renamed, r"extract\(\): the function's parameter 2 is 'page', not 'pages'"),
        (Surplus, r"page\(\): the function has no parameter 'zoom'; there: \(number: int\) -> "),
        (Lacking, r"page\(\): the function needs 'number'; there: .* here: \(self\)"),
        (ByPlace, r"strict\(\): 'name' is keyword-only there"),
        (LeftOut, r"page\(\): 'number' may be left out here, but not there"),
        (OtherDefault, r"extract\(\): the default of 'page' is 0, not 1"),
        (OtherType, r"extract\(\): 'data' is bytes there, not str"),
        (OtherResult, r"extract\(\): the result is str, not int"),
        (NoStream, r"count\(\): the function is a stream"),
        (AwaitedStream, r"acount\(\): a stream is not awaited"),
        (Attribute, r"size: a proxy has plain methods only, this is an attribute"),
        (Property, r"page: a proxy has plain methods only, this is a property"),
        (Unreadable, r"page\(\): its annotations cannot be read: NameError"),
        (Empty, r"it has no methods"),
    ],
)
def test_a_proxy_that_does_not_match_is_refused_at_once(
    pool: Pool, protocol: Any, said: str
) -> None:
    with pytest.raises(pyproc.ProxyMismatch, match=said) as caught:
        pool.proxy(protocol)
    assert protocol.__name__ in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_all_that_is_wrong_is_said_together(pool: Pool) -> None:
    class Wrong(Protocol):
        def nothing(self) -> None: ...
        def page(self) -> Page: ...

    with pytest.raises(pyproc.ProxyMismatch, match=r"(?s)nothing\(\).*page\(\)"):
        pool.proxy(Wrong)
    with pytest.raises(TypeError, match="a Protocol class is needed"):
        pool.proxy("Docs")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [
    "", "(", ")", "(a", "(a: dict[str, int] = {', ': 1}, *, b='=') -> list[int]", "(*", "((((",
    "(,,,)",
    "(a='\\', b", "(**kw: Any)", "\x00(", "(a: Literal[')']) -> None", "(self, /, a)",
])  # fmt: skip
def test_signatures_are_only_ever_text(text: str) -> None:
    found = proxies.parse(text)
    assert len(found.named()) <= text.count(",") + 1


def test_a_signature_is_cut_where_it_should_be() -> None:
    found = proxies.parse("(a: dict[str, int] = {', ': 1}, *rest, b='=') -> list[int]")
    assert [(one.name, one.hint, one.default) for one in found.positional] == [
        ("a", "dict[str, int]", "{', ': 1}")
    ]
    assert [(one.name, one.default) for one in found.keyword_only] == [("b", "'='")]
    assert (found.rest, found.keywords, found.result) == (True, False, "list[int]")
