"""What user code raised, as bounded data for the host.

Nothing of a user's exception is trusted: its `__str__`, `__module__`, `args` and notes may raise,
be endless or of any type. The walk over causes, contexts and group members is flat and bounded;
what cannot be read is named instead. Tracebacks are written by the interpreter itself, so that
the first failure does not cost an import.
"""

from __future__ import annotations

from pyproc import _worker, errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard, TypeVar

    T = TypeVar("T")
    from types import TracebackType
    from typing import Any

    #: relation, parent, type_name, message, traceback, arguments, attributes, notes, suppress
    Node = tuple[int, int, bytes, bytes, bytes, bytes, bytes, tuple[bytes, ...], bool]
    Described = tuple[int, bytes, list[Node]]

NODES_MAX = 256
NOTES_MAX = 32
TEXT_MAX = 64 * 1024
TYPE_NAME_MAX = 512
ATTRIBUTES_MAX = 32

#: Bytes of one failure; set from Hello, so that it fits into a frame.
total_max = 1024 * 1024

_PACKAGE = __file__.rpartition("/")[0].rpartition("/")[0] + "/"
_NOT_USERS = (_PACKAGE, "<frozen importlib", "<frozen runpy")


class Refusal(Exception):
    """pyproc itself, not user code, ends this call; never raised into user code."""

    def __init__(self, kind: int, type_name: str, text: str, path: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.type_name = type_name
        self.text = text
        self.path = path


def describe(raised: BaseException, kind: int = errors.KIND_EXCEPTION) -> Described:
    """Kind, path and nodes of a failure; never raises for what user code made."""
    if _is(raised, Refusal):
        return _describe_refusal(raised)
    nodes: list[Node] = []
    _Walk().add_nodes(nodes, errors.RELATION_ROOT, raised)
    return kind, b"", nodes


def pack_item(raised: BaseException) -> bytes:
    """A failed item of a chunk, as an extension value."""
    kind, path, nodes = describe(raised)
    texts = [
        (*node[:2], *(text.decode() for text in node[2:5]), *node[5:7], _texts(node[7]), node[8])
        for node in nodes
    ]
    packed = _worker.pack_plain([kind, path.decode(), [list(node) for node in texts]])
    assert packed is not None
    return b"\xc9" + len(packed).to_bytes(4, "big") + b"\x04" + packed


def _texts(notes: tuple[bytes, ...]) -> list[str]:
    return [note.decode() for note in notes]


def _describe_refusal(refusal: Refusal) -> Described:
    text = as_text(refusal.text, TEXT_MAX)
    arguments = _encode([refusal.text]) if "." not in refusal.type_name else b""
    nodes: list[Node] = [(0, 0, refusal.type_name.encode(), text, b"", arguments, b"", (), True)]
    if refusal.__cause__ is not None:
        _Walk().add_nodes(nodes, errors.RELATION_CAUSE, refusal.__cause__)
    return refusal.kind, as_text(refusal.path, TYPE_NAME_MAX), nodes


def as_text(text: str, limit: int) -> bytes:
    """Valid utf-8 without NUL, of at most `limit` bytes; cut in the middle when longer."""
    if len(text) > limit:
        text = _cut(text, limit)
    data = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    if len(data) > limit:
        half = limit // 2 - 16
        data = data[:half] + b"\n[...]\n" + data[-half:]
        data = data.decode("utf-8", "ignore").encode()
    return data


def _cut(text: str, limit: int) -> str:
    half = limit // 2 - 16
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


def _safe_str(value: object, what: str) -> str:
    try:
        text = str(value)
        return str.__getitem__(text, slice(None))  # a subclass of str may do anything
    except BaseException:
        return f"<{what} failed>"


def _encode(value: Any) -> bytes:
    """RICH, or empty when it cannot be carried or is too long."""
    packed: bytes | None
    try:
        packed = _worker.pack_plain(value)
        if packed is None:
            from pyproc import codec

            packed = codec.encode_value(value)[0]
    except BaseException:
        return b""
    return packed if len(packed) <= TEXT_MAX else b""


def type_name_of(kind: type) -> str:
    """ "module.qualname"; built-ins without a module."""
    module: Any
    name: Any
    try:
        module, name = kind.__module__, kind.__qualname__
        if type(module) is not str or type(name) is not str:
            raise TypeError
    except BaseException:
        return "<a class without a name>"
    return name if module == "builtins" else f"{module}.{name}"


class _Walk:
    """From an exception to all that hang on it: parents before children, each once."""

    def __init__(self) -> None:
        self.left = total_max
        self.seen: set[int] = set()
        self.todo: list[tuple[int, int, BaseException]] = []

    def add_nodes(self, nodes: list[Node], relation: int, raised: BaseException) -> None:
        self.todo.append((relation, 0, raised))
        while self.todo and len(nodes) < NODES_MAX and self.left > 1024:
            relation, parent, exception = self.todo.pop()
            if id(exception) in self.seen:
                continue
            self.seen.add(id(exception))
            self._follow(exception, len(nodes))
            nodes.append(self._node(relation, parent, exception))

    def _follow(self, exception: BaseException, at: int) -> None:
        """Causes are taken first, then contexts, then members: the last in is the first out."""
        members: tuple[BaseException, ...] = ()
        if _is(exception, BaseExceptionGroup):
            members = _field(exception, "exceptions", BaseExceptionGroup)
        for member in reversed(members[:NODES_MAX]):
            self.todo.append((errors.RELATION_MEMBER, at, member))
        cause = _field(exception, "__cause__")
        context = _field(exception, "__context__")
        if context is not None and context is not cause:
            self.todo.append((errors.RELATION_CONTEXT, at, context))
        if cause is not None:
            self.todo.append((errors.RELATION_CAUSE, at, cause))

    def _node(self, relation: int, parent: int, exception: BaseException) -> Node:
        traceback = format_traceback(exception)
        message = _safe_str(exception, "exception str()")
        if _is(exception, BaseExceptionGroup):
            message = _safe_str(_field(exception, "message", BaseExceptionGroup), "message")
        suppress = bool(_field(exception, "__suppress_context__"))
        return (
            relation,
            parent,
            self._take(type_name_of(type(exception)), TYPE_NAME_MAX),
            self._take(message, TEXT_MAX),
            self._take(traceback, TEXT_MAX),
            self._take_bytes(_encode(_arguments_of(exception))),
            self._take_bytes(_attributes_of(exception)),
            self._take_notes(_notes_of(exception)),
            suppress,
        )

    def _take(self, text: str, limit: int) -> bytes:
        data = as_text(text, max(64, min(limit, self.left // 2)))
        self.left -= len(data)
        return data

    def _take_notes(self, notes: list[str]) -> tuple[bytes, ...]:
        """All notes of a node together may have what one text may."""
        before, taken = self.left, []
        for note in notes:
            taken.append(self._take(note, max(64, TEXT_MAX - (before - self.left))))
        return tuple(taken)

    def _take_bytes(self, data: bytes) -> bytes:
        if len(data) > self.left // 2:
            return b""
        self.left -= len(data)
        return data


def _is(value: object, kind: type[T]) -> TypeGuard[T]:
    """isinstance that asks the type only: `__class__` of a user's object may raise."""
    return issubclass(type(value), kind)


def _field(exception: BaseException, name: str, cls: type = BaseException) -> Any:
    """The interpreter's own field, whatever a subclass has put in its place."""
    return vars(cls)[name].__get__(exception)


def _arguments_of(exception: BaseException) -> list[Any]:
    if _is(exception, BaseExceptionGroup):
        return []
    return list(_field(exception, "args"))


def _attributes_of(exception: BaseException) -> bytes:
    """What `args` does not carry, as far as it is data. A map, or empty."""
    found: dict[str, object] = {}
    try:
        for kind, names in ((OSError, ("filename", "filename2")), (ImportError, ("name", "path"))):
            if _is(exception, kind):
                found.update({name: getattr(exception, name, None) for name in names})
        own = object.__getattribute__(exception, "__dict__")
        for name in list(own)[:ATTRIBUTES_MAX]:
            if type(name) is str and not name.startswith("_"):
                found[name] = own[name]
    except BaseException:
        return b""
    found = {name: value for name, value in found.items() if value is not None}
    if not found:
        return b""
    whole = _encode(found)
    return whole or _encode({name: value for name, value in found.items() if _encode(value)})


def _notes_of(exception: BaseException) -> list[str]:
    try:
        notes = object.__getattribute__(exception, "__dict__").get("__notes__", ())
    except BaseException:
        return []
    if type(notes) not in (list, tuple):
        return [_safe_repr(notes)] if notes is not None else []
    return [
        _safe_str(note, "note str()") if _is(note, str) else _safe_repr(note)
        for note in notes[:NOTES_MAX]
    ]


def _safe_repr(value: object) -> str:
    try:
        text = repr(value)
        return str.__getitem__(text, slice(None))
    except BaseException:
        return "<note repr() failed>"


# ---- tracebacks ----


def format_traceback(exception: BaseException) -> str:
    """The lines before "Type: message", as the interpreter prints them, without our frames."""
    import io

    traceback = _users_part(_field(exception, "__traceback__"))
    file = io.StringIO()
    try:
        if traceback is not None:
            _worker.print_traceback(traceback, file)
        return file.getvalue() + _syntax_lines(exception)
    except BaseException:
        return file.getvalue()


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Without the frames at the top that belong to pyproc or to the import system."""
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith(_NOT_USERS) and not _is_runner(filename):
            break
        traceback = traceback.tb_next
    return traceback


def _is_runner(filename: str) -> bool:
    return filename.endswith(("/asyncio/runners.py", "/asyncio/base_events.py"))


def _syntax_lines(exception: BaseException) -> str:
    """Where a SyntaxError is: the lines that Python prints between traceback and message."""
    if not isinstance(exception, SyntaxError) or exception.lineno is None:
        return ""
    text = f'  File "{exception.filename or "<string>"}", line {exception.lineno}\n'
    if isinstance(exception.text, str):
        line = exception.text.rstrip("\n")
        stripped = line.lstrip()
        text += f"    {stripped}\n"
        if isinstance(exception.offset, int) and exception.offset > 0:
            at = max(0, exception.offset - 1 - (len(line) - len(stripped)))
            text += "    " + " " * min(at, len(stripped)) + "^\n"
    return text
