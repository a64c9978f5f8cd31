"""Annotations that a look is enough for, as the table that C compares values with.

A shape names the exact built-in types that pass unseen, also inside lists and dicts. What fits
no shape may still be right: msgspec says, when such a value comes. So nothing heavy is
imported for `dict[str, Any]`, and no value is walked by Python code.
"""

from __future__ import annotations

import sys

from pyproc import _worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    #: accepted types; shapes of a list's items, a dict's keys and its values, None: anything
    Shape = tuple[int, "Shape | None", "Shape | None", "Shape | None"]

ANY = _worker.ACCEPT_ANY
ANYTHING: Shape = (ANY, None, None, None)
ASK: Shape = (0, None, None, None)  # nothing passes unseen

_MASKS: dict[object, int] = {
    None: _worker.ACCEPT_NONE,
    type(None): _worker.ACCEPT_NONE,
    bool: _worker.ACCEPT_BOOL,
    int: _worker.ACCEPT_INT,
    float: _worker.ACCEPT_FLOAT | _worker.ACCEPT_WIDEN,
    str: _worker.ACCEPT_STR,
    bytes: _worker.ACCEPT_BYTES,
    list: _worker.ACCEPT_LIST,
    dict: _worker.ACCEPT_DICT,
    tuple: _worker.ACCEPT_TUPLE,
    object: ANY,
}
PLAIN = frozenset(_MASKS)
_UNION: Any = type(int | str)
_SHAPES_MAX = 1000


def shape_of(hint: object, module: dict[str, object]) -> Shape:
    """What passes unseen for an annotation; ASK when it takes more than a look."""
    try:
        if isinstance(hint, str):
            # The application's own source, as typing.get_type_hints() would do at the first call.
            hint = eval(hint, module)  # noqa: S307  # nosec B307
        return _shape_of(hint)
    except Exception:  # an annotation may be any object at all
        return ASK


def item_shape(
    hint: object,
    module: dict[str, object],
    names: Callable[[dict[str, object]], dict[str, object]],
    item_of: Callable[[Any], Any],
) -> Shape | None:
    """The same of what a generator yields; None when the annotation is of no generator."""
    try:
        if isinstance(hint, str):
            hint = eval(hint, module, names(module))  # noqa: S307  # nosec B307
        item = item_of(hint)
        return None if item is None else _shape_of(item)
    except Exception:  # as above
        return None


def _shape_of(hint: Any) -> Shape:
    if isinstance(hint, str):
        return ASK  # a name inside another annotation: `list["Page"]`
    origin = getattr(hint, "__origin__", None)
    typing: Any = sys.modules.get("typing")
    if typing is not None and hint is typing.Any:
        return ANYTHING
    if isinstance(hint, _UNION) or (typing is not None and origin is typing.Union):
        return _union([_shape_of(part) for part in hint.__args__])
    if origin is list and len(hint.__args__) == 1:
        return _nested(_worker.ACCEPT_LIST, _shape_of(hint.__args__[0]))
    if origin is dict and len(hint.__args__) == 2:
        return _nested(_worker.ACCEPT_DICT, *map(_shape_of, hint.__args__))
    return (_MASKS[hint], None, None, None) if hint in PLAIN else ASK


def _nested(accept: int, *parts: Shape) -> Shape:
    if ASK in parts:
        return ASK
    first, *more = (None if part == ANYTHING else part for part in parts)
    return (accept, None, first, more[0]) if more else (accept, first, None, None)


def _union(parts: list[Shape]) -> Shape:
    """One part that must be asked makes the whole so: it may want to convert."""
    seen = 0
    slots: list[Shape | None] = [None, None, None]
    for accept, *inner in parts:
        containers = _worker.ACCEPT_LIST | _worker.ACCEPT_DICT
        if accept == 0 or accept & seen & containers:
            return ASK
        seen |= accept
        slots = [new or old for new, old in zip(inner, slots, strict=True)]
    return (seen, slots[0], slots[1], slots[2])


def table(shapes: Iterable[Shape]) -> bytes:
    """The array of `struct pp_shape` (csrc/binding/worker_shape.h); nested ones come later."""
    rows = list(shapes)
    made: list[tuple[int, ...]] = []
    while len(made) < len(rows) <= _SHAPES_MAX:
        accept, *inner = rows[len(made)]
        places = []
        for shape in inner:
            places.append(0 if shape is None else len(rows))
            rows += [] if shape is None else [shape]
        made.append((accept, *places))
    if len(rows) > _SHAPES_MAX:
        made = [(ANY if row == ANYTHING else 0, 0, 0, 0) for row in list(shapes)]
    return b"".join(part.to_bytes(2, sys.byteorder) for row in made for part in row)
