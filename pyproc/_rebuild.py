"""A worker's failure, made into exceptions of the host.

The nodes are a flat list in which parents come first, so everything here goes from the last
node to the first and nothing recurses. Text is cut to a bound; arguments go through the
codec; a class is made again only when it is a built-in `Exception` that takes them.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from pyproc import codec, errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyproc.errors import Node

_NODES_MAX = 256
_NOTES_MAX = 64
_TEXT_MAX = 64 * 1024
_WHOLE_MAX = 1024 * 1024
_CAUSE_LINE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT_LINE = "\nDuring handling of the above exception, another exception occurred:\n\n"

#: Raised in the host these would end somebody's iteration without a word.
_NEVER_AS_THEMSELVES = (StopIteration, StopAsyncIteration)
#: Attributes with a meaning of their own, and what they may be.
_KNOWN_ATTRIBUTES: dict[type[Exception], dict[str, tuple[type, ...]]] = {
    ImportError: {"name": (str,), "path": (str,)},
    OSError: {"filename": (str, bytes, int), "filename2": (str, bytes, int)},
}


def from_failure(
    kind: int, nodes: Sequence[Node], path: str, function: str, call_id: int
) -> BaseException:
    """See `errors.from_failure`."""
    nodes = [_bounded(node) for node in nodes[:_NODES_MAX]]
    if not nodes:
        return errors.ProtocolError("a failure without an exception", function=function)
    text = "".join(_texts(nodes))[:_WHOLE_MAX]
    made = _make_all(nodes)
    root = _of_kind(kind, nodes[0], path[:_TEXT_MAX], function) or made[0]
    made[0] = root
    _link(nodes, made)
    for exception, node in zip(made, nodes, strict=True):
        _dress(exception, node, text)
    if nodes[0][4] or len(nodes) > 1:
        _show(root, text)
    return root


def from_item(payload: bytes, function: str, call_id: int) -> BaseException:
    """The exception in a chunk's failed item: what `worker/failure.py` packed."""
    try:
        kind, path, nodes = codec.decode_failure(payload)
    except errors.CodecError as error:
        return errors.ProtocolError(
            f"the worker sent a failure that makes no sense: {error}",
            function=function,
            call_id=call_id,
        )
    return from_failure(kind, nodes, path, function, call_id)


def _bounded(node: Node) -> Node:
    relation, parent, type_name, message, traceback, arguments, attributes, notes, suppress = node
    return (
        relation,
        parent,
        type_name[:1024],
        message[:_TEXT_MAX],
        traceback[:_TEXT_MAX],
        arguments,
        attributes,
        tuple(note[:_TEXT_MAX] for note in notes[:_NOTES_MAX]),
        suppress,
    )


# ---- the classes ----


def _of_kind(kind: int, root: Node, path: str, function: str) -> Exception | None:
    """The exception for what the worker refused, not what the function raised."""
    message = root[3]
    if kind == errors.KIND_VALIDATION:
        return errors.ValidationError(message, path)
    if kind == errors.KIND_CODEC:
        return errors.CodecError(message, path)
    if kind == errors.KIND_UNKNOWN:
        unknown = errors.UnknownFunction(message)
        unknown.function = function
        return unknown
    if kind == errors.KIND_TOO_LARGE:
        return errors.ResultTooLarge(message)
    if kind == errors.KIND_START and root[2] == "pyproc.WorkerStartError":
        return errors.WorkerStartError(message)
    return None


def _make_all(nodes: Sequence[Node]) -> list[Exception]:
    """An exception for each node; members before the groups that hold them."""
    members: dict[int, list[Exception]] = {}
    made: list[Exception] = [errors.RemoteError()] * len(nodes)
    for at in range(len(nodes) - 1, -1, -1):
        node = nodes[at]
        made[at] = _make(node, members.pop(at, []))
        if node[0] == errors.RELATION_MEMBER and node[1] < at:
            members.setdefault(node[1], []).insert(0, made[at])
    return made


def _make(node: Node, members: Sequence[Exception]) -> Exception:
    exception: Exception | None = None
    if node[2] in ("ExceptionGroup", "BaseExceptionGroup"):
        if members:
            exception = ExceptionGroup(node[3], members)
    else:
        exception = _make_builtin(node)
    if exception is None:
        exception = errors.RemoteError(node[2], node[3])
    for name, value in _attributes(node).items():
        _put(exception, name, value)
    return exception


def _make_builtin(node: Node) -> Exception | None:
    cls = vars(builtins).get(node[2])
    if not isinstance(cls, type) or not issubclass(cls, Exception) or not node[5]:
        return None
    if issubclass(cls, _NEVER_AS_THEMSELVES) or issubclass(cls, BaseExceptionGroup):
        return None
    try:
        arguments = codec.decode_value(node[5], codec.RICH)
        if not isinstance(arguments, list):
            return None
        if issubclass(cls, SyntaxError) and not _fits_syntax_error(arguments):
            return None
        made = cls(*arguments)
        return made if isinstance(made, cls) else None
    except Exception:  # whatever hostile arguments do to a constructor
        return None


def _fits_syntax_error(arguments: list[object]) -> bool:
    """Printing one with other types in it raises, far from here."""
    if len(arguments) < 2:
        return True
    details = arguments[1]
    kinds: tuple[type, ...] = (str, int, int, str, int, int)
    return (
        len(arguments) == 2
        and isinstance(arguments[0], str)
        and isinstance(details, tuple)
        and len(details) in (4, 6)
        and all(d is None or type(d) is k for d, k in zip(details, kinds, strict=False))
    )


def _attributes(node: Node) -> dict[str, object]:
    if not node[6]:
        return {}
    try:
        attributes = codec.decode_value(node[6], codec.RICH)
    except errors.CodecError:
        return {}
    if not isinstance(attributes, dict):
        return {}
    return {name: value for name, value in attributes.items() if isinstance(name, str)}


def _put(exception: Exception, name: str, value: object) -> None:
    if isinstance(exception, errors.RemoteError):
        exception.attributes[name] = value
        return
    for cls, known in _KNOWN_ATTRIBUTES.items():
        if isinstance(exception, cls) and name in known:
            if isinstance(value, known[name]):
                setattr(exception, name, value)
            return
    if name.isidentifier() and not name.startswith("_") and not hasattr(type(exception), name):
        vars(exception)[name] = value


# ---- the chain ----


def _link(nodes: Sequence[Node], made: Sequence[Exception]) -> None:
    for at in range(len(nodes) - 1, 0, -1):
        relation, parent = nodes[at][0], nodes[at][1]
        if parent >= at:
            continue
        if relation == errors.RELATION_CAUSE:
            made[parent].__cause__ = made[at]
        elif relation == errors.RELATION_CONTEXT:
            made[parent].__context__ = made[at]


def _dress(exception: Exception, node: Node, text: str) -> None:
    exception.remote_traceback = text  # type: ignore[attr-defined]
    exception.__suppress_context__ = node[8] or exception.__cause__ is not None
    for note in node[7]:
        exception.add_note(note)


def _show(root: Exception, text: str) -> None:
    """Puts the worker's text at the end of the chain that printing follows."""
    last: BaseException = root
    for _ in range(_NODES_MAX):
        following = last.__cause__
        if following is None and not last.__suppress_context__:
            following = last.__context__
        if following is None:
            break
        last = following
    last.__cause__ = errors.RemoteTraceback(text)


# ---- the text ----


def _texts(nodes: Sequence[Node]) -> list[str]:
    """What Python would have printed in the worker, as parts to be joined."""
    before: dict[int, list[str]] = {}
    members: dict[int, list[str]] = {}
    parts: list[str] = []
    for at in range(len(nodes) - 1, -1, -1):
        node = nodes[at]
        parts = before.pop(at, [])
        parts.append(_own_text(node))
        parts.extend(_numbered(members.pop(at, [])))
        if at == 0 or node[1] >= at:
            continue
        if node[0] == errors.RELATION_MEMBER:
            members.setdefault(node[1], []).insert(0, "".join(parts)[:_TEXT_MAX])
        elif node[0] == errors.RELATION_CAUSE or not nodes[node[1]][8]:
            parts.append(_CAUSE_LINE if node[0] == errors.RELATION_CAUSE else _CONTEXT_LINE)
            before.setdefault(node[1], parts)
    return parts


def _own_text(node: Node) -> str:
    line = f"{node[2]}: {node[3]}" if node[3] else node[2]
    notes = "".join(f"{note}\n" for note in node[7])
    return f"{node[4]}{line}\n{notes}"


def _numbered(members: Sequence[str]) -> list[str]:
    parts = []
    for number, member in enumerate(members, 1):
        parts.append(f"  +-- {number} of {len(members)} " + "-" * 24 + "\n")
        parts.extend(f"  | {line}\n" for line in member.splitlines())
    return parts
