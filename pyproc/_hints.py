"""What annotations say about results. Any thread."""

from __future__ import annotations

from typing import Any, get_args, get_origin


def item_type(hint: Any, is_asked: bool) -> Any:
    """What a stream's items are turned into: options(result_type=), or T of an Iterator[T] that
    the host holds."""
    if is_asked or hint is None:
        return hint
    origin, arguments = get_origin(hint), get_args(hint)
    if getattr(origin, "__module__", "") != "collections.abc" or not arguments:
        return None
    return None if arguments[0] is Any else arguments[0]
