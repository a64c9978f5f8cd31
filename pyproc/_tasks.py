"""Tasks: a function and its arguments, pickled for a worker; and what comes back.

Functions that a worker can import go by their name. What lives in the main script, a notebook or
another function goes by value, with cloudpickle. The main script is never run again. All functions
may be called from any thread.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import pickle
import types
import typing
import weakref
from collections.abc import Callable
from concurrent.futures import process
from typing import TYPE_CHECKING, Any

from pyproc import broken
from pyproc._unpickle import from_worker
from pyproc.codec import convert, decode_many, decode_value
from pyproc.errors import ItemFailure, RemoteError, RemoteTraceback
from pyproc.target import file_of, result_hint
from pyproc.worker.executing import RAISED

if TYPE_CHECKING:
    from pyproc.codec import Payload

Task = list[Any]
_HELP = (
    "a worker imports functions by name: put this one into a module, or `pip install cloudpickle`, "
    "with which functions of the main script, of notebooks and of other functions go by value"
)
_FunctionTypes = (types.FunctionType, type)


class _NeedsValue(pickle.Pickler):
    """Raises for what is defined in the main script: no worker can import that."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _FunctionTypes) and value.__module__ == "__main__":
            name = value.__qualname__
            raise pickle.PicklingError(f"{name!r} is defined in the main script")
        return NotImplemented


def make(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    is_exact: bool,
    place: tuple[str, str] | None = None,
) -> Task:
    """The task for one call. Raises what pickling raises, with a note that says what would help.

    place: where the function is, for one that does not say so itself."""
    data, by_value = _dump((function, args, kwargs))
    module, file = ("", "") if by_value else place or place_of(function)
    return [data, module, file, is_exact]


def makers(function: Callable[..., Any], is_exact: bool) -> Callable[[tuple[Any, ...]], Task]:
    """The same for many calls of one function, which is pickled once if that costs something."""
    data, by_value = _dump(function)
    if not by_value:
        return lambda args: make(function, args, {}, is_exact)
    return lambda args: [_dump((args, {}))[0], "", "", is_exact, data]


def _dump(value: object) -> tuple[bytes, bool]:
    """Pickled, and whether that took cloudpickle."""
    try:
        data = pickle.dumps(value, 5)
        if b"__main__" not in data:
            return data, False
        first: Exception | None = None
    except Exception as error:  # a user's __reduce__ may raise anything
        first = error
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        if first is None:
            first = _find_main(value)
            if first is None:
                return data, False
        first.add_note(_HELP)
        raise first from None
    try:
        return bytes(cloudpickle.dumps(value, 5)), True
    except Exception as error:
        failed = first or error
    failed.add_note("neither pickle nor cloudpickle can send this function and its arguments")
    raise failed


def _find_main(value: object) -> Exception | None:
    import io

    try:
        _NeedsValue(io.BytesIO(), 5).dump(value)
    except Exception as error:
        return error
    return None


def _inner(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


def name_of(function: Any) -> str:
    """What errors call it."""
    function = _inner(function)
    return str(getattr(function, "__qualname__", "") or type(function).__qualname__)


def place_of(function: Any) -> tuple[str, str]:
    """Which module a worker must have imported, and the file where this process found it."""
    function = _inner(function)
    if not isinstance(function, _FunctionTypes):
        return "", ""
    module = function.__module__
    if not isinstance(module, str) or module == "builtins":
        return "", ""
    return module, _known_file(module)


@functools.lru_cache(maxsize=1024)
def _known_file(module: str) -> str:
    return file_of(module)


# ---- what comes back ----

_hints: weakref.WeakKeyDictionary[Any, object] = weakref.WeakKeyDictionary()


def result_type(function: Any) -> object:
    """What the function says it returns, if that is more than plain data; else None."""
    function = _inner(function)
    if not isinstance(function, types.FunctionType) or "return" not in function.__annotations__:
        return None
    if function not in _hints:
        hint = result_hint(function)
        _hints[function] = hint if _is_rebuilt(hint) else None
    return _hints[function]


def _is_rebuilt(hint: Any) -> bool:
    """Whether a value of that type crosses as something simpler and is made again."""
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return (
            issubclass(hint, enum.Enum)
            or (issubclass(hint, tuple) and hasattr(hint, "_fields"))
            or any(
                hasattr(hint, mark)
                for mark in ("__dataclass_fields__", "__struct_config__", "__attrs_attrs__")
            )
        )
    return any(_is_rebuilt(part) for part in typing.get_args(hint))


@dataclasses.dataclass(frozen=True)
class Failed:
    """In the place of a value: what was raised. Carried, not raised again, so that no traceback of
    ours keeps what it was about."""

    error: BaseException


def read(payload: Payload, codec: int, pickles: bool, hint: object) -> Any:
    """The result in a worker's answer, or Failed."""
    try:
        value = decode_value(payload, codec, None if pickles else hint)
    except Exception as error:
        return Failed(error.with_traceback(None))
    return opened(value) if pickles else value


def read_many(payload: Payload, codec: int, count: int, pickles: bool, hint: object) -> list[Any]:
    """The results of a chunk's first items, each of them perhaps Failed. Raises CodecError."""
    values = decode_many(payload, codec, count) if count else []
    return [_one_of_many(value, pickles, hint) for value in values]


def _one_of_many(value: Any, pickles: bool, hint: object) -> Any:
    if isinstance(value, ItemFailure):
        return Failed(value.exception())
    if pickles:
        return opened(value)
    try:
        return value if hint is None else convert(value, hint, "result")
    except Exception as error:
        return Failed(error.with_traceback(None))


def opened(value: Any) -> Any:
    """The result, or Failed, in what a worker that pickles has sent."""
    if isinstance(value, bytes | memoryview):
        try:
            return from_worker(value)
        except BaseException as error:  # a constructor may do anything, and may even exit
            unreadable = broken.Unreadable(
                f"the result could not be unpickled here: {type(error).__name__}: {error}"[:1000]
            )
            unreadable.__cause__ = error.with_traceback(None)
            return Failed(unreadable)
    if isinstance(value, list) and len(value) == 5 and value[0] == RAISED:
        return Failed(_raised(*value[1:]))
    return Failed(broken.Unreadable("the worker did not answer with a pickle"))


def _raised(data: bytes, type_name: str, message: str, text: str) -> BaseException:
    try:
        error = from_worker(data)
    except BaseException:  # as above
        error = None
    if not isinstance(error, BaseException):
        return RemoteError(type_name, message, text)
    kind: Any = getattr(process, "_RemoteTraceback", RemoteTraceback)
    error.__cause__ = kind(f'\n"""\n{text}"""')
    return error
