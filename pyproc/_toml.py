"""TOML for people: what is wrong is named by file, line and key, with the nearest known name.

A document becomes one value of a msgspec Struct or a dataclass, or ConfigError; half a value
never. The standard library's parser does not say on which line a key stands, so a small scanner
here does. Any thread.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from pyproc.errors import ConfigError

Path = tuple[str | int, ...]
#: More than any configuration of ours, and less than what would hurt to read.
FILE_MAX = 1024 * 1024

_PART = r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|[A-Za-z0-9_-]+)"
_KEYS = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)


def dotted(path: Iterable[str | int]) -> str:
    """ "roles.reader.functions[0]"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest known name, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"


def read(path: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The file's tables and the line of each key. ConfigError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path) from None
    if len(data) > FILE_MAX:
        raise ConfigError(f"is larger than {FILE_MAX} bytes", path)
    return parse(data, path)


def parse(data: bytes, source: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The same of bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8", source, line) from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        reason = str(error).partition(" (at ")[0]
        line = int(found[1]) if found else text.count("\n") + 1  # "at end of document"
        raise ConfigError(f"is not TOML: {reason}", source, line) from None
    return tables, lines_of(text)


def lines_of(text: str) -> dict[Path, int]:
    """Where each table and each key outside of inline tables stands; of valid TOML."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "_", found.group()) if found.group()[0] != "#" else ""

    found: dict[Path, int] = {}
    table: Path = ()
    lists: dict[Path, int] = {}
    depth = 0
    plain = _STRING.sub(blank, text).split("\n")
    for number, line in enumerate(text.split("\n"), 1):
        bare = plain[number - 1] if number <= len(plain) else ""
        if depth == 0 and bare.lstrip().startswith("["):
            table = _header(line.strip(), lists)
            for size in range(1, len(table) + 1):
                found.setdefault(table[:size], number)
        else:
            if depth == 0 and "=" in bare and (keys := _KEYS.match(line)):
                path = table
                for part in _split(keys[1]):
                    path = (*path, part)
                    found.setdefault(path, number)
            depth += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    return found


def _header(line: str, lists: dict[Path, int]) -> Path:
    """The path of a `[table]` or the next of a `[[list of tables]]`."""
    is_list = line.startswith("[[")
    keys = _KEYS.match(line.lstrip("["))
    names = _split(keys[1]) if keys else []
    path: Path = ()
    for at, part in enumerate(names):
        path = (*path, part)
        if is_list and at == len(names) - 1:
            lists[path] = lists.get(path, -1) + 1
        if path in lists:
            path = (*path, lists[path])
    return path


def _split(keys: str) -> list[str]:
    parts = re.findall(_PART, keys)
    return [part[1:-1] if part[0] in "\"'" else part for part in parts]


def line_at(path: Path, lines: dict[Path, int]) -> int | None:
    """The line of a key, or of the nearest table around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


class Builder:
    """Makes one value of its schema from a document's tables. One thread."""

    def __init__(
        self, source: str, lines: dict[Path, int], others: dict[Path, str] | None = None
    ) -> None:
        self._source, self._lines = source, lines
        self._others = others or {}  # keys that are not from the document, and where they are from

    def fail(self, path: Path, reason: str) -> ConfigError:
        """The error for what stands at `path`."""
        for size in range(len(path), 0, -1):
            if path[:size] in self._others:
                return ConfigError(reason, self._others[path[:size]], None, dotted(path))
            if path[:size] in self._lines:
                break
        return ConfigError(reason, self._source, line_at(path, self._lines), dotted(path))

    def build(self, value: Any, schema: Any, path: Path = ()) -> Any:
        """The value, or ConfigError."""
        members = _members(schema)
        if value == "none" and types.NoneType in members:
            return None
        has_dict = any(get_origin(member) is dict for member in members)
        for member in members:
            if _is_table(member) and isinstance(value, dict):
                if has_dict and not set(value) <= set(fields_of(member)):
                    continue  # a table of names of the user's own
                return self._table(value, member, path)
            origin, inner = get_origin(member), get_args(member)
            if origin is dict and isinstance(value, dict):
                return {key: self.build(of, inner[1], (*path, key)) for key, of in value.items()}
            if origin in (list, tuple) and isinstance(value, list):
                built = [self.build(of, inner[0], (*path, at)) for at, of in enumerate(value)]
                return built if origin is list else tuple(built)
        return self._plain(value, schema, path)

    def _plain(self, value: Any, schema: Any, path: Path) -> Any:
        try:
            return msgspec.convert(value, schema)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at `")[0]
            for theirs, ours in (("Object", "a table"), ("`object`", "`table`")):
                reason = reason.replace(theirs, ours)
            raise self.fail(path, f"{reason[0].lower()}{reason[1:]}") from None

    def _table(self, value: dict[str, Any], schema: type, path: Path) -> Any:
        known = fields_of(schema)
        for name in value:
            if name not in known:
                raise self.fail((*path, name), f"there is no such key; {nearest(name, known)}")
        arguments = {name: self.build(of, known[name], (*path, name)) for name, of in value.items()}
        try:
            return schema(**arguments)
        except (ValueError, TypeError, OSError) as error:
            named = [name for name in value if re.search(rf"\b{re.escape(name)}\b", str(error))]
            at = (*path, named[0]) if named else path
            missing = re.match(r"Missing required argument '(\w+)'", str(error))
            reason = f"{missing[1]!r} is missing" if missing else str(error)
            raise self.fail(at, reason) from error


def fields_of(schema: type) -> dict[str, Any]:
    """A table's keys with their types."""
    hints = get_type_hints(schema)
    if dataclasses.is_dataclass(schema):
        return {field.name: hints[field.name] for field in dataclasses.fields(schema)}
    return {name: hints[name] for name in schema.__struct_fields__}  # type: ignore[attr-defined]


def _members(schema: Any) -> tuple[Any, ...]:
    if get_origin(schema) in (Union, types.UnionType):
        return get_args(schema)
    return (schema,)


def _is_table(schema: Any) -> bool:
    return isinstance(schema, type) and (
        issubclass(schema, msgspec.Struct) or dataclasses.is_dataclass(schema)
    )


def table_in(schema: Any) -> type | None:
    """The table that a value of this type may be, if any."""
    return next((member for member in _members(schema) if _is_table(member)), None)


def takes_text_only(schema: Any) -> bool:
    """Whether text stays text, though it may look like a number."""
    members = set(_members(schema)) - {types.NoneType, msgspec.UnsetType}
    return members == {str}
