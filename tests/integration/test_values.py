"""Values that go to a worker and back."""

from __future__ import annotations

import datetime
import decimal
import math
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyproc
from pyproc import CodecError, Limits, Pool, ResultTooLarge, ValidationError

APPS = Path(__file__).with_name("apps")
sys.path.insert(0, str(APPS))
import values_app  # type: ignore[import-not-found]  # noqa: E402
from values_app import Colour, Page, Pair, Point  # noqa: E402

UTC = datetime.UTC


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool("values_app:app", workers=1, path=[str(APPS)]) as opened:
        opened.call("total", np.zeros(1))  # what the host imports for numpy and msgspec
        yield opened


SAME = [
    None, True, 0, -(2**63), 2**64 - 1, 2**64, -(2**100), 1.5, -0.0, math.inf, 1 + 2j, "", "ü€",
    "\ud800", b"", bytes(range(256)), [], [1, [2, [3]]], {}, {"a": {"b": 1}},
    {1: 2, None: 3, b"k": 4},
    (), (1, (2,)), {1, 2}, frozenset({"a"}), {(1, 2): 3}, [{1}, ({2},)],
    decimal.Decimal("0.10"), decimal.Decimal("-Infinity"), uuid.UUID(int=7),
    datetime.date(2026, 2, 28), datetime.time(23, 59, 59, 999999), datetime.timedelta(-1, 5, 7),
    datetime.datetime(2026, 1, 1, 12), datetime.datetime(2026, 1, 1, 12, tzinfo=UTC),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
]  # fmt: skip


@pytest.mark.parametrize("value", SAME, ids=lambda value: repr(value)[:30])
def test_a_value_comes_back_as_it_was(pool: Pool, value: Any) -> None:
    back = pool.call("echo", value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", SAME, ids=lambda value: repr(value)[:30])
def test_a_value_is_in_the_worker_what_it_is_here(pool: Pool, value: Any) -> None:
    assert pool.call("kind", value) == type(value).__name__


def test_a_map_carries_the_same_values(pool: Pool) -> None:
    assert list(pool.map("echo", SAME)) == SAME


def test_not_a_number_stays_so(pool: Pool) -> None:
    assert math.isnan(pool.call("echo", math.nan))


@pytest.mark.parametrize("value", [bytearray(b"ab"), memoryview(b"ab")])
def test_other_bytes_hold_the_same(pool: Pool, value: Any) -> None:
    assert pool.call("echo", value) == b"ab"


@pytest.mark.parametrize("size", [300, 70_000, 10_000_000])
def test_large_values_go_through(pool: Pool, size: int) -> None:
    value = bytes(size)
    assert pool.call("echo", value) == value
    assert pool.submit("echo", "x" * size).result(60) == "x" * size


def test_deep_values_go_through_up_to_the_limit(pool: Pool) -> None:
    value: Any = 1
    for _ in range(400):
        value = [value]
    assert pool.call("echo", value) == value
    for _ in range(400):
        value = [value]
    with pytest.raises(CodecError, match="deep"):
        pool.call("echo", value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("i1", "u2", "i4", "u8", "f2", "f4", "f8", "c16", ">i4", "?")
    ]
    + [
        np.array(5.5), np.zeros((0, 3)), np.arange(20)[::3], np.asfortranarray(np.eye(3)),
        np.array(["a", "bcd"]), np.array([b"x"]), np.array(["2026-01-01"], dtype="M8[D]"),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)  # fmt: skip
def test_an_array_comes_back_equal_in_type_and_shape(pool: Pool, array: Any) -> None:
    back = pool.call("echo", array)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    "scalar", [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1j)]
)
def test_a_numpy_scalar_comes_back_as_one(pool: Pool, scalar: Any) -> None:
    back = pool.call("echo", scalar)
    assert type(back) is type(scalar)
    assert back == scalar


def test_an_array_of_objects_cannot_go(pool: Pool) -> None:
    with pytest.raises(CodecError, match="object"):
        pool.call("echo", np.array([object()]))


def test_annotated_arguments_become_their_classes(pool: Pool) -> None:
    names = pool.call(
        "typed",
        point=Point(1, 2.0),
        page=Page(3, ["a"]),
        pair=Pair(1, "b"),
        colour=Colour.RED,
        when=datetime.datetime(2026, 1, 1),
        price=decimal.Decimal("1.5"),
        name=uuid.UUID(int=1),
        tags={"x"},
    )
    assert names == ["Point", "Page", "Pair", "Colour", "datetime", "Decimal", "UUID", "set"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2.0), {"x": 1, "y": 2.0}),
        (Page(1, ["a"]), {"number": 1, "lines": ["a"]}),
        (Pair(1, "b"), (1, "b")),
        (Colour.BLUE, "blue"),
    ],
)
def test_without_annotation_a_class_arrives_as_its_plain_value(
    pool: Pool, value: Any, plain: Any
) -> None:
    back = pool.call("echo", value)
    assert back == plain or tuple(back) == plain


def test_the_host_makes_the_result_that_it_asks_for(pool: Pool) -> None:
    assert pool.call("moved", Point(1)) == {"x": 2, "y": 0.0}
    typed = pool.options(result_type=Point)
    assert typed.call("moved", Point(1)) == Point(2, 0.0)
    assert typed.submit("moved", Point(2)).result(60) == Point(3, 0.0)
    assert list(typed.map("moved", [Point(3)])) == [Point(4, 0.0)]
    with pytest.raises(ValidationError, match="result"):
        typed.call("echo", "text")


def test_results_of_an_app_that_the_host_holds_are_typed() -> None:
    with Pool(values_app.app, workers=1) as pool:
        assert pool.call("moved", Point(1)) == Point(2, 0.0)


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        (("5",), {}, "argument 'n'"),
        ((True,), {}, "argument 'n'"),
        ((1, ["a", 2]), {}, "argument 'names'[1]"),
        ((1,), {"ratio": "x"}, "argument 'ratio'"),
    ],
)
def test_what_does_not_fit_its_annotation_is_named(
    pool: Pool, args: Any, kwargs: Any, path: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        pool.call("count", *args, **kwargs)
    assert caught.value.path == path
    with pytest.raises(ValidationError):
        pool.submit("count", *args, **kwargs).result(60)


def test_an_int_passes_for_a_float(pool: Pool) -> None:
    assert pool.call("count", 1, ratio=2) == 1


@pytest.mark.parametrize("args", [(), (1, [], 2), (1, [], 3)])
def test_the_wrong_number_of_arguments_is_pythons_own_error(pool: Pool, args: Any) -> None:
    with pytest.raises(TypeError, match=r"count\(\)"):
        pool.call("count", *args)


def test_a_result_that_is_not_as_annotated_is_refused(pool: Pool) -> None:
    with pytest.raises(ValidationError, match="result"):
        pool.call("wrong")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "argument 0"),
        ([1, {"k": [open]}], "argument 0[1]['k'][0]"),
        ({"a": {1: {object()}}}, "argument 0['a'][1]"),
        (Point(object()), "argument 0.x"),
    ],
)
def test_an_argument_that_cannot_go_is_named_by_its_path(pool: Pool, value: Any, path: str) -> None:
    with pytest.raises(CodecError) as caught:
        pool.call("echo", value)
    assert caught.value.path is not None
    assert caught.value.path.startswith(path)
    with pytest.raises(CodecError, match="argument 'value'"):
        pool.call("echo", value=value)


def test_a_value_that_contains_itself_is_named(pool: Pool) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    with pytest.raises(CodecError, match="itself"):
        pool.call("echo", loop)


def test_a_result_that_cannot_go_is_named_by_its_path(pool: Pool) -> None:
    before = pool.workers()
    with pytest.raises(CodecError) as caught:
        pool.call("unsendable", 3)
    assert caught.value.path == "result[1]['at'][1]"
    assert pool.workers()[0].pid == before[0].pid


def test_a_result_over_its_limit_costs_only_the_call() -> None:
    limits = Limits(result_size="1MiB")
    with Pool("values_app:app", workers=1, path=[str(APPS)], limits=limits) as pool:
        pid = pool.workers()[0].pid
        assert len(pool.call("blob", 2**20 - 100)) == 2**20 - 100
        with pytest.raises(ResultTooLarge):
            pool.call("blob", 2**20 + 1)
        with pytest.raises(ResultTooLarge):
            pool.submit("blob", 20 * 2**20).result(60)
        assert pool.workers()[0].pid == pid


def test_arguments_over_the_frames_limit_are_refused_before_they_go(pool: Pool) -> None:
    pid = pool.workers()[0].pid
    for call in (pool.call, lambda *a: pool.submit(*a).result(60)):
        with pytest.raises(pyproc.Error):
            call("echo", "x" * (17 * 2**20))
    assert pool.workers()[0].pid == pid
