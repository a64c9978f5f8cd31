"""Annotations that a look is enough for, and those that are asked about."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Optional, Union

import pytest

from pyproc import _worker
from pyproc.worker.shapes import ANYTHING, ASK, shape_of, table

if TYPE_CHECKING:
    from pyproc.worker.shapes import Shape

INT, STR, NONE = _worker.ACCEPT_INT, _worker.ACCEPT_STR, _worker.ACCEPT_NONE
LIST, DICT, TUPLE = _worker.ACCEPT_LIST, _worker.ACCEPT_DICT, _worker.ACCEPT_TUPLE


def just(accept: int) -> Shape:
    return (accept, None, None, None)


@pytest.mark.parametrize(
    ("hint", "shape"),
    [
        (int, just(INT)),
        (None, just(NONE)),
        (Any, ANYTHING),
        (object, ANYTHING),
        (tuple, just(TUPLE)),
        (int | None, just(INT | NONE)),
        (Optional[str], just(STR | NONE)),
        (Union[str, int], just(STR | INT)),
        (list[int], (LIST, just(INT), None, None)),
        (list[Any], just(LIST)),
        (dict[str, Any], (DICT, None, just(STR), None)),
        (dict[str, list[int]], (DICT, None, just(STR), (LIST, just(INT), None, None))),
        (list[int] | dict[str, int] | None, (LIST | DICT | NONE, just(INT), just(STR), just(INT))),
        ("dict[str, Any]", (DICT, None, just(STR), None)),
    ],
)
def test_plain_annotations_have_a_shape(hint: object, shape: Shape) -> None:
    assert shape_of(hint, {"Any": Any}) == shape


@pytest.mark.parametrize(
    "hint",
    [
        set, tuple[int, ...], list[set[int]], list[int] | list[str], int | bytearray, "Missing",
        'list["int"]', "1/0", struct.Struct, [], float | set,
    ],
)  # fmt: skip
def test_other_annotations_are_asked_about(hint: object) -> None:
    assert shape_of(hint, {}) == ASK


def test_nested_shapes_lie_behind_those_that_name_them() -> None:
    rows = list(struct.iter_unpack("4H", table([ANYTHING, shape_of(dict[str, list[int]], {})])))
    assert rows[1] == (DICT, 0, 2, 3)
    assert rows[2] == (STR, 0, 0, 0)
    assert rows[3] == (LIST, 4, 0, 0)
    assert rows[4] == (INT, 0, 0, 0)


def test_an_annotation_of_very_many_parts_is_asked_about() -> None:
    hint: Any = int
    for _ in range(1500):
        hint = list[hint]
    try:
        shape = shape_of(hint, {})
    except RecursionError:
        pytest.fail("an annotation ended the start of a worker")
    assert struct.unpack("4H", table([shape])) == (0, 0, 0, 0)
