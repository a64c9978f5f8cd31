"""Context variables that travel with a call."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pyproc import CodecError, Pool

APPS = Path(__file__).parent / "apps"
lonely: contextvars.ContextVar[int] = contextvars.ContextVar("lonely")


@pytest.fixture(name="app", scope="module")
def imported() -> Iterator[ModuleType]:
    sys.path.insert(0, str(APPS))
    import carried  # type: ignore[import-not-found]

    yield carried
    sys.path.remove(str(APPS))


@pytest.fixture(name="pool", scope="module", params=["exec", "template"])
def opened(app: ModuleType, request: pytest.FixtureRequest) -> Iterator[Pool]:
    with Pool(
        app, workers=1, context=[app.request_id, app.tags], start_method=request.param
    ) as pool:
        yield pool


def test_a_leased_call_sees_the_callers_value(pool: Pool, app: ModuleType) -> None:
    def caller() -> object:
        app.request_id.set("r-1")
        return pool.call("who")

    assert contextvars.copy_context().run(caller) == "r-1"


def test_a_variable_that_is_not_set_has_the_workers_default(pool: Pool) -> None:
    assert pool.call("who") == "nobody"


def test_a_value_ends_with_its_call(pool: Pool, app: ModuleType) -> None:
    def caller() -> None:
        app.request_id.set("r-2")
        pool.call("who")

    contextvars.copy_context().run(caller)
    assert pool.call("who") == "nobody"


def test_a_value_ends_with_a_call_that_fails(pool: Pool, app: ModuleType) -> None:
    def caller() -> None:
        app.request_id.set("r-3")
        with pytest.raises(ValueError, match="r-3"):
            pool.call("fail")

    contextvars.copy_context().run(caller)
    assert pool.call("who") == "nobody"


def test_what_the_function_sets_is_set_back_with_the_callers_value(
    pool: Pool, app: ModuleType
) -> None:
    def caller() -> None:
        app.request_id.set("mine")
        pool.call("change")

    contextvars.copy_context().run(caller)
    assert pool.call("who") == "nobody"


def test_a_submitted_call_sees_the_value_of_the_moment_it_was_submitted(
    pool: Pool, app: ModuleType
) -> None:
    def caller() -> object:
        app.request_id.set("then")
        future = pool.submit("who")
        app.request_id.set("later")
        return future.result(60)

    assert contextvars.copy_context().run(caller) == "then"


def test_each_item_of_a_map_sees_the_value_of_the_moment_it_was_made(
    pool: Pool, app: ModuleType
) -> None:
    def caller() -> list[object]:
        app.request_id.set("mapped")
        results = pool.map("who_for", range(20), chunksize=3)
        app.request_id.set("later")
        return list(results)

    assert contextvars.copy_context().run(caller) == ["mapped"] * 20


def test_each_task_of_asyncio_sends_its_own_value(pool: Pool, app: ModuleType) -> None:
    async def one(name: str) -> object:
        app.request_id.set(name)
        await asyncio.sleep(0)
        return await pool.acall("who_awaited")

    async def main() -> list[object]:
        return list(await asyncio.gather(one("a"), one("b"), one("c")))

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_values_of_every_type_that_travels_travel(pool: Pool, app: ModuleType) -> None:
    value = {"set": {1, 2}, "path": [("a", b"b")]}

    def caller() -> object:
        app.tags.set(value)
        return pool.call("what")

    assert contextvars.copy_context().run(caller) == value


def test_options_leave_the_values_alone(pool: Pool, app: ModuleType) -> None:
    def caller() -> object:
        app.request_id.set("r-9")
        return pool.options(timeout=60, priority=3).call("who")

    assert contextvars.copy_context().run(caller) == "r-9"


def test_a_value_that_cannot_travel_is_named(pool: Pool, app: ModuleType) -> None:
    def caller() -> None:
        app.tags.set(object())
        with pytest.raises(CodecError, match=r"context variable 'carried:tags'"):
            pool.call("what")

    contextvars.copy_context().run(caller)


def test_without_the_option_nothing_travels(app: ModuleType) -> None:
    def caller() -> object:
        app.request_id.set("secret")
        with Pool(app, workers=1) as pool:
            return pool.call("who")

    assert contextvars.copy_context().run(caller) == "nobody"


def test_a_variable_that_no_module_holds_is_refused(app: ModuleType) -> None:
    inside: contextvars.ContextVar[int] = contextvars.ContextVar("inside")
    with pytest.raises(ValueError, match=r"context: 'inside' is a global of no imported module"):
        Pool(app, context=[inside])


@pytest.mark.parametrize("bad", [["request_id"], lonely])
def test_what_is_no_list_of_variables_is_refused(app: ModuleType, bad: object) -> None:
    with pytest.raises(TypeError, match="context"):
        Pool(app, context=bad)  # type: ignore[arg-type]
