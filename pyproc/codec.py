"""Values to payloads and back; used at both ends.

Plain values (None, bool, 64-bit int, float, str, bytes, list, dict) go as MessagePack. What a
plain array or map would lose (tuple, set, Decimal, datetime, numpy arrays, ...) goes as an
extension type of `_extension.py`, and the payload is then called rich. Dataclasses, Structs,
Enums and named tuples go as the plain value that msgspec makes of them and are rebuilt where an
annotation says so.

The host takes a worker's bytes as hostile: `scan` holds every size against what is there and
bounds the depth before msgspec makes the first value. All functions may be called from any
thread. msgspec and numpy are imported when they are first needed.
"""

from __future__ import annotations

from pyproc._extension import LARGE, Unfit, exact_hook, pack_hook, restore, restore_hostile
from pyproc._worker import DEPTH, SCAN_FAILURE, SCAN_RICH, pack_plain, pack_rich, scan, unpack
from pyproc.errors import CodecError, ValidationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from pyproc.errors import Node

    class Carrier(Protocol):
        """What takes values that travel beside the payload: pyproc.files.Attachments and kin."""

        large: int | None
        failed: OSError | None

        def pack(self, value: Any, /) -> tuple[int, bytes] | None: ...
        def finish(self) -> None: ...
        def close(self) -> None: ...


MSGPACK, RICH, PICKLE = 1, 2, 3

if TYPE_CHECKING:
    #: A result's bytes, perhaps with the memory that large values of it lie in.
    Payload = bytes | tuple[bytes, Sequence[Any]]

_SCALARS = frozenset({type(None), bool, float, bytes})
_BINARY = (bytes, bytearray)
_KEY_MAX = 40
_PATH_MAX = 200


# ---- values to payloads ----


def encode_value(
    value: object, name: str = "result", large: Carrier | None = None, exact: bool = False
) -> tuple[bytes, int]:
    """The payload of one value, and its codec. Raises CodecError naming what cannot go; with
    `exact` also what would come back as something simpler."""
    return _encode(value, [(value, name)], large, exact_hook if exact else pack_hook)


def encode_arguments(
    args: tuple[object, ...], kwargs: Mapping[str, object], files: Carrier | None = None
) -> tuple[bytes, int, tuple[str, ...]]:
    """Payload, codec and the keywords' names; open files go into `files`.

    Raises CodecError: "argument 'page'.name", and OSError of files that cannot be opened.
    """
    values = [*args, *kwargs.values()]
    plain = pack_plain(values, None if files is None else files.large)
    if plain is not None:
        return plain, MSGPACK, tuple(kwargs)
    names = [f"argument {at}" for at in range(len(args))]
    names += [f"argument {name!r}" for name in kwargs]
    return *_encode(values, list(zip(values, names, strict=True)), files), tuple(kwargs)


def encode_context(values: Mapping[str, object]) -> bytes:
    """The caller's context variables. Raises CodecError: "context variable 'app:user'.name"."""
    names = [(value, f"context variable {name!r}") for name, value in values.items()]
    return _encode(values, names)[0]


def encode_items(
    items: Sequence[object], first: int = 0, large: Carrier | None = None
) -> tuple[bytes, int]:
    """The payload of a chunk's arguments, numbered from `first`. CodecError: "item 3.name"."""
    values = list(items)
    plain = pack_plain(values, None if large is None else large.large)
    if plain is not None:
        return plain, MSGPACK
    named: list[tuple[object, str]] = [(v, f"item {at}") for at, v in enumerate(values, first)]
    return _encode(values, named, large)


def _encode(
    value: object,
    named: list[tuple[object, str]],
    files: Carrier | None = None,
    hook: Callable[[Any], tuple[int | None, Any]] = pack_hook,
) -> tuple[bytes, int]:
    large = None if files is None else files.large
    plain = pack_plain(value, large)
    if plain is not None:
        return plain, MSGPACK
    if files is not None:
        hook = _hook_with(files, hook)
    try:
        payload, rich = pack_rich(value, hook, large)
    except OverflowError as error:
        raise CodecError(str(error)) from None
    except Exception as error:  # a user's property may raise anything
        if files is not None:
            files.close()
            if error is files.failed:
                raise
        path, why = _explain(named, error, hook)
        if files is not None:
            files.close()
        if len(path) > _PATH_MAX:
            path = f"{path[: _PATH_MAX // 2]}...{path[-_PATH_MAX // 2 :]}"
        raise CodecError(f"{path}: {why}", path) from None
    if files is not None:
        _finish(files)
    return payload, RICH if rich else MSGPACK


def _finish(files: Carrier) -> None:
    try:
        files.finish()
    except BaseException:
        files.close()
        raise


def _hook_with(
    files: Carrier, others: Callable[[Any], tuple[int | None, Any]]
) -> Callable[[Any], tuple[int | None, Any]]:
    def hook(value: Any) -> tuple[int | None, Any]:
        return files.pack(value) or others(value)

    return hook


def _explain(
    named: list[tuple[object, str]],
    error: Exception,
    hook: Callable[[Any], tuple[int | None, Any]],
) -> tuple[str, str]:
    """Where the value is that cannot go, and why: walks to the first that fails."""
    todo: list[Iterator[tuple[object, str]]] = [iter(named)]
    inside: list[int] = []  # ids of the containers around
    while todo:
        step = next(todo[-1], None)
        if step is None:
            todo.pop()
            del inside[len(todo) - 1 if todo else 0 :]
            continue
        value, path = step
        if id(value) in inside:
            return path, "it contains itself"
        try:
            children = _children(value, path, hook)
        except Unfit as unfit:
            return path, str(unfit)
        except Exception as raised:  # a user's property
            return path, f"it could not be read: {type(raised).__name__}: {raised}"[:1000]
        if children is None:
            continue
        if len(todo) > DEPTH:
            return path, f"it is nested deeper than {DEPTH} levels"
        inside.append(id(value))
        todo.append(children)
    return named[0][1] if named else "value", f"it cannot be carried: {error}"


def _children(
    value: Any, path: str, hook: Callable[[Any], tuple[int | None, Any]]
) -> Iterator[tuple[object, str]] | None:
    """What is inside a value; None for a scalar. Raises Unfit."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if kind is dict:
        return _of_dict(value, path, "[{}]")
    if kind is list or kind is tuple:
        return ((item, f"{path}[{at}]") for at, item in enumerate(value))
    if kind is set or kind is frozenset:
        return ((item, f"{path}{{{_short(item)}}}") for item in value)
    if kind is int or kind is str:
        if pack_plain(value) is None:
            hook(value)
        return None
    code, replaced = hook(value)
    if code is not None:
        return None
    if type(replaced) is dict and not isinstance(value, dict):
        return _of_dict(replaced, path, ".{}")
    return iter([(replaced, path)])


def _of_dict(value: dict[object, object], path: str, template: str) -> Iterator[tuple[object, str]]:
    for key, item in value.items():
        name = key if template == ".{}" else _short(key)
        yield key, f"{path}: the key {_short(key)}"
        yield item, path + template.format(name)


def _short(key: object) -> str:
    if type(key) not in (str, int, bool, float, bytes):
        return f"of type {type(key).__name__}"
    text = repr(key)
    return text if len(text) <= _KEY_MAX else text[:_KEY_MAX] + "..."


# ---- payloads to values ----


def decode_value(payload: Payload, codec: int, type: object = None) -> object:
    """The value in hostile bytes. With a type: checked and converted, or ValidationError."""
    value = _decode_hostile(payload, codec, 1, 0)
    return value if type is None else convert(value, type, "result")


def decode_many(payload: Payload, codec: int, count: int) -> list[object]:
    """`count` values back to back, out of hostile bytes; failed items as ItemFailure."""
    if count > payload_size(payload) or count > 0xFFFFFFFF:
        raise CodecError("a chunk has more values than bytes")
    values = _decode_hostile(payload, codec, count, SCAN_FAILURE)
    assert isinstance(values, list)
    return values


def decode_items(payload: bytes, codec: int, count: int) -> list[Any]:
    """`count` items of a stream back to back, out of hostile bytes."""
    array = b"\xdd" + count.to_bytes(4, "big") + payload
    try:
        values = unpack(array)  # nearly always plain, whatever the codec: it holds every size
    except MemoryError:
        raise
    except Exception:
        values = decode_value(array, codec)
    assert isinstance(values, list)
    return values


def payload_size(payload: Payload) -> int:
    """Its bytes, without those in memory."""
    return len(payload[0] if isinstance(payload, tuple) else payload)


def _decode_hostile(payload: Payload, codec: int, count: int, flags: int) -> object:
    views: list[memoryview] = []
    if isinstance(payload, tuple):
        views = [memoryview(memory).toreadonly() for memory in payload[1]]
        payload = payload[0]
    if codec not in (MSGPACK, RICH):
        raise CodecError(f"a worker may not answer with codec {codec}")
    if codec == RICH:
        flags |= SCAN_RICH
    try:
        scan(payload, count, flags)
        if flags & SCAN_FAILURE:
            payload = b"\xdd" + count.to_bytes(4, "big") + payload
        return (_decoder_with(views) if views else _decoder())(payload)
    except MemoryError:
        raise
    except Exception as error:  # whatever hostile bytes do to a constructor
        raise CodecError(f"a worker's value makes no sense: {error}"[:1000]) from None
    finally:
        views.clear()  # the decoder is in a ring with its hook, and must not keep the memory


_decode: Callable[[bytes | memoryview], object] | None = None


def _decoder() -> Callable[[bytes | memoryview], object]:
    global _decode
    if _decode is None:
        import msgspec

        decoder = msgspec.msgpack.Decoder(ext_hook=_ext_hook)
        _decode = decoder.decode
    return _decode


def _decoder_with(views: list[memoryview]) -> Callable[[bytes | memoryview], object]:
    """One that finds large values in what their worker was granted, and in nothing else."""
    import msgspec

    from pyproc import _large

    def hook(code: int, data: memoryview) -> object:
        if code == LARGE:
            return _large.restore(bytes(data), views)
        return restore_hostile(code, data, decode)

    decode: Callable[[bytes | memoryview], object] = msgspec.msgpack.Decoder(ext_hook=hook).decode
    return decode


def _ext_hook(code: int, data: memoryview) -> object:
    return restore_hostile(code, data, _decoder())


def decode_failure(payload: bytes) -> tuple[int, str, list[Node]]:
    """Kind, path and nodes of a failed item, out of hostile bytes. Raises CodecError."""
    import msgspec

    node = tuple[int, int, str, str, str, bytes, bytes, tuple[str, ...], bool]
    try:
        kind, path, nodes = msgspec.convert(
            decode_value(payload, MSGPACK), tuple[int, str, list[node]], builtin_types=_BINARY
        )
    except msgspec.ValidationError as error:
        raise CodecError(str(error)) from None
    if not nodes or not 1 <= kind <= 5 or nodes[0][0] != 0:
        raise CodecError("its first node is no root")
    for at, (relation, parent, *_rest) in enumerate(nodes):
        if at and (not 1 <= relation <= 3 or not 0 <= parent < at):
            raise CodecError("its nodes are no tree")
    return kind, path, nodes


def decode_trusted(
    payload: bytes, codec: int, hook: Callable[[int, bytes], object] = restore
) -> object:
    """The value in the host's bytes, in a worker."""
    try:
        return unpack(payload, hook if codec == RICH else None)
    except MemoryError:
        raise
    except Exception as error:
        raise CodecError(f"the value makes no sense: {error}"[:1000]) from None


# ---- annotations ----


def convert(value: Any, hint: Any, path: str) -> Any:
    """The value as the annotation wants it, or ValidationError. TypeError: no such annotation."""
    import msgspec

    # Without the last, text would be taken for base64 of bytes.
    try:
        return msgspec.convert(value, hint, builtin_types=_BINARY)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error), path) from None


def _validation_error(text: str, root: str) -> ValidationError:
    """msgspec says "Expected `int`, got `str` - at `$[0].name`"; we know what `$` is."""
    message, at, where = text.rpartition(" - at `")
    path = root
    if not at:
        message = text
    elif where.startswith("$"):
        path = root + where[1:].rstrip("`")
    else:
        kind, _, place = where.partition("` in `$")
        path = f"{kind} in {root}{place.rstrip('`')}"
    return ValidationError(f"{path}: {message[:1].lower()}{message[1:]}", path)
