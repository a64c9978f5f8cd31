"""The stacks of workers that were killed.

A kill waits some milliseconds for the stack, not longer; on a machine that is busy with other
things that may not be enough. So a test makes the call again until there was time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pyproc import errors

_TRIES = 20
E = TypeVar("E", bound=errors.Error)


def killed_with_stack(kind: type[E], call: Callable[[], Any]) -> E:
    """What `call` raised, with a stack, or with another reason for having none than the time."""
    for _ in range(_TRIES):
        with pytest.raises(kind) as caught:
            call()
        missing = getattr(caught.value, "python_stack_missing", None) or ""
        if "did not write one within" not in missing:
            break
    return caught.value
