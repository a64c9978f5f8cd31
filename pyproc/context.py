"""Context variables that travel with a call: found by their module and name, gathered per call."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from pyproc.codec import encode_context

#: "module:name" -> the variable.
Carried = dict[str, ContextVar[Any]]
_MISSING = object()


def find(variables: Iterable[ContextVar[Any]]) -> Carried:
    """Where a worker finds each of them. Raises TypeError, or ValueError when it cannot."""
    if isinstance(variables, ContextVar):
        raise TypeError("context= is a list of context variables, not one")
    return {_place(variable): variable for variable in variables}


def _place(variable: object) -> str:
    if not isinstance(variable, ContextVar):
        raise TypeError(f"context: {variable!r} is no contextvars.ContextVar")
    own = variable.name.rpartition(".")[2]
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if name in ("__main__", "__mp_main__") or not isinstance(names, dict):
            continue
        for attribute in (own, *list(names)) if own in names else list(names):
            if names.get(attribute) is variable and all(
                part.isidentifier() for part in (*name.split("."), attribute)
            ):
                return f"{name}:{attribute}"
    raise ValueError(
        f"context: {variable.name!r} is a global of no imported module, so that a worker could not "
        "find it: define it in a module of its own that host and application import"
    )


def modules(carried: Carried) -> list[str]:
    """The modules that workers import for them."""
    return sorted({place.partition(":")[0] for place in carried})


def gather(carried: Carried) -> bytes:
    """The values that are set in the caller's context; empty when none is. Raises CodecError."""
    values = {}
    for place, variable in carried.items():
        value = variable.get(_MISSING)
        if value is not _MISSING:
            values[place] = value
    return encode_context(values) if values else b""
