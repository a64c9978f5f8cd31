"""The caller's context variables, set around a call."""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import Any

_Set = list[tuple[ContextVar[Any], Token[Any]]]


def enter(values: Any) -> _Set:
    """Sets each variable, by "module:name"; answers what sets them back."""
    tokens: _Set = []
    try:
        for place, value in values.items():
            variable = _variable(place)
            tokens.append((variable, variable.set(value)))
    except BaseException:
        leave(tokens)
        raise
    return tokens


def leave(tokens: _Set) -> None:
    """Sets them back to what they were before the call."""
    for variable, token in reversed(tokens):
        variable.reset(token)


def _variable(place: str) -> ContextVar[Any]:
    module, _, name = place.partition(":")
    variable = getattr(sys.modules.get(module), name, None)
    if not isinstance(variable, ContextVar):
        raise LookupError(f"the worker's {module} has no context variable {name!r}")
    return variable
