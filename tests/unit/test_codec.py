"""Values through the codec: what comes back, what is refused, what hostile bytes may do."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import threading
import uuid
import zoneinfo
from typing import Any, NamedTuple

import msgspec
import pytest

from pyproc import codec
from pyproc._worker import DEPTH, pack_plain
from pyproc.errors import CodecError, ValidationError

UTC = dt.timezone.utc  # noqa: UP017  (the name of the value that must come back)
PLAIN: list[Any] = [
    None,
    True,
    False,
    *(0, 1, -1, -32, -33, 127, 128, -128, -129, 255, 256, -(2**15), -(2**15) - 1, 65535, 65536),
    *(2**31, -(2**31) - 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324),
    *("", "a", "ä" * 31, "x" * 255, "x" * 256, "x" * 65536, "\0", "\U0001f40d"),
    *(b"", b"\xff" * 255, b"x" * 256, b"x" * 65536),
    *([], [1, "a", None], list(range(15)), list(range(16)), list(range(65536))),
    *({}, {"a": [{}]}, {1: 2, None: 3, b"x": 4, 1.5: 5}, {at: at for at in range(16)}),
    {at: at for at in range(65536)},
]
RICH: list[Any] = [
    *(2**64, -(2**63) - 1, 2**4096, -(2**4096)),
    *("\ud800", ["\udfff"]),
    *((), (1, "a"), ((1, (2,)),), [()], {"a": (1,)}, {(1, 2): 3}),
    *(set(), {1, 2}, {(1, 2)}, frozenset({1, frozenset({2})})),
    *(decimal.Decimal("1.50"), decimal.Decimal("-0"), decimal.Decimal("1E+400")),
    uuid.UUID(int=7),
    *(dt.date(1, 1, 1), dt.date.max),
    *(dt.time(1, 2, 3, 4), dt.time(1, 2, tzinfo=UTC), dt.time(1, fold=1)),
    *(
        dt.datetime(2024, 2, 29),
        dt.datetime(9999, 12, 31, 23, 59, 59),
        dt.datetime(2024, 1, 1, tzinfo=UTC),
    ),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5, seconds=7))),
    *(dt.timedelta(-3, 5, 7), dt.timedelta.max, dt.timedelta.min),
    1 + 2j,
    *(bytearray(b"x"), [bytearray()]),
]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Row:
    name: Any
    colour: Colour = Colour.RED


class Shape(msgspec.Struct, tag="shape", rename="camel"):
    edge_count: int = 3


class Pair(msgspec.Struct, array_like=True):
    a: int
    b: int


class Point(NamedTuple):
    x: int
    y: int


class Text(str):
    __slots__ = ()


def there_and_back(value: object) -> list[Any]:
    """Through a hostile host's decoder and a worker's."""
    payload, kind = codec.encode_value(value)
    return [codec.decode_value(payload, kind), codec.decode_trusted(payload, kind)]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_values_come_back_equal_and_of_their_type(value: Any) -> None:
    payload, kind = codec.encode_value(value)
    assert kind == codec.MSGPACK
    assert msgspec.msgpack.decode(payload) == value
    for back in there_and_back(value):
        assert (back, type(back), str(back)) == (value, type(value), str(value))


@pytest.mark.parametrize("value", RICH, ids=lambda value: repr(value)[:30])
def test_rich_values_come_back_equal_and_of_their_type(value: Any) -> None:
    assert codec.encode_value(value)[1] == codec.RICH
    assert pack_plain(value) is None
    for back in there_and_back(value):
        assert (back, type(back), repr(back)) == (value, type(value), repr(value))


def test_a_time_zone_with_a_name_keeps_it_and_the_second_of_two_equal_hours() -> None:
    value = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    for back in there_and_back(value):
        assert (back, back.fold, back.tzinfo) == (value, 1, value.tzinfo)


def test_not_a_number_is_still_none() -> None:
    assert all(math.isnan(back) for back in there_and_back(math.nan))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Row("a"), {"name": "a", "colour": "red"}),
        (Shape(), {"type": "shape", "edgeCount": 3}),
        (Pair(1, 2), [1, 2]),
        (Point(1, 2), (1, 2)),
        (Text("a"), "a"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aa"), {"a": 2}),
        ([Row((1,))], [{"name": (1,), "colour": "red"}]),
    ],
)
def test_richer_classes_go_as_the_plain_value_that_stands_for_them(value: Any, plain: Any) -> None:
    for back in there_and_back(value):
        assert (back, type(back)) == (plain, type(plain))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Row("a"), Row),
        ([Shape(4)], list[Shape]),
        (Pair(1, 2), Pair),
        (Point(1, 2), Point),
        ({"a": Colour.RED}, dict[str, Colour]),
        ({1, 2}, set[int]),
        (b"x", bytes),
        (dt.date(2020, 1, 1), dt.date),
    ],
)
def test_annotated_values_are_rebuilt(value: Any, hint: Any) -> None:
    back = codec.decode_value(*codec.encode_value(value), type=hint)
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "hint", "path"),
    [
        (1, str, "result"),
        ([{"name": "a", "colour": "blue"}], list[Row], "result[0].colour"),
        ({"a": {"b": 1}}, dict[str, dict[str, str]], "result[...][...]"),
        ("aGk=", bytes, "result"),
        ({"a": 1}, dict[int, int], "key in result"),
    ],
)
def test_a_value_that_does_not_fit_its_annotation_is_named(
    value: Any, hint: Any, path: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        codec.decode_value(*codec.encode_value(value), type=hint)
    assert caught.value.path.startswith(path)
    assert str(caught.value).startswith(f"{caught.value.path}: ")


# ---- what cannot go ----


class Odd:
    pass


@dataclasses.dataclass
class Raising:
    @property
    def name(self) -> str:
        raise LookupError("not now")


Raising.__dataclass_fields__ = Row.__dataclass_fields__


def cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append({"k": (loop,)})
    return loop


def nested(levels: int, wrap: Any = lambda inner: [inner]) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (Odd(), "result", "Odd cannot be carried"),
        ({"rows": [1, 2, Odd()]}, "result['rows'][2]", "cannot be carried"),
        ([Row([Odd()])], "result[0].name[0]", "cannot be carried"),
        ([(1, threading.Lock())], "result[0][1]", "lock cannot be carried"),
        ({Odd(): 1}, "result: the key of type Odd", "cannot be carried"),
        ({(1, "\ud800"): {1: print}}, "result[of type tuple][1]", "only data can"),
        ((n for n in [1]), "result", "make it a list"),
        ([Raising()], "result[0]", "LookupError: not now"),
        (cycle(), "result[0]['k'][0]", "contains itself"),
        (decimal.Decimal("1" * 70000), "result", "too long"),
    ],
)
def test_what_cannot_be_carried_is_named_with_its_path(value: Any, path: str, words: str) -> None:
    with pytest.raises(CodecError) as caught:
        codec.encode_value(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_an_int_beyond_all_use_is_refused() -> None:
    with pytest.raises(CodecError, match="too big"):
        codec.encode_value(1 << (8 * 1024 * 1024 + 8))


def test_arguments_and_items_are_named_as_the_caller_wrote_them() -> None:
    with pytest.raises(CodecError) as caught:
        codec.encode_arguments((1, [0, 1, Row(Odd())]), {"page": 1})
    assert caught.value.path == "argument 1[2].name"
    with pytest.raises(CodecError) as caught:
        codec.encode_arguments((1,), {"page": Odd()})
    assert caught.value.path == "argument 'page'"
    with pytest.raises(CodecError) as caught:
        codec.encode_items([1, 2, Odd()])
    assert caught.value.path == "item 2"


def test_arguments_are_one_array_positional_first() -> None:
    payload, kind, keywords = codec.encode_arguments((1, (2,)), {"a": 3, "b": None})
    assert (kind, keywords) == (codec.RICH, ("a", "b"))
    assert codec.decode_trusted(payload, kind) == [1, (2,), 3, None]


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, Row])
def test_depth_is_bounded_both_ways(wrap: Any) -> None:
    deep = nested(100, wrap)
    assert len(there_and_back(deep)) == 2
    with pytest.raises(CodecError, match="nested"):
        codec.encode_value(nested(DEPTH + 1, wrap))
    with pytest.raises(CodecError, match="nested"):
        codec.encode_value(nested(100_000, wrap))


def test_a_container_that_a_hook_changes_meanwhile_is_refused_and_nothing_worse() -> None:
    target: dict[Any, Any] = {}

    class Changing(enum.Enum):
        A = 1

        @property
        def value(self) -> Any:  # what the hook reads
            target.clear()
            target.update({at: at for at in range(1000)})
            return 1

    target.update({"a": Changing.A, "b": 2})
    with pytest.raises(CodecError):
        codec.encode_value(target)
    growing: list[Any] = []

    class Growing(enum.Enum):
        A = 1

        @property
        def value(self) -> Any:
            growing.clear()
            return 1

    growing.extend([Growing.A, 2, 3])
    with pytest.raises(CodecError):
        codec.encode_value(growing)
