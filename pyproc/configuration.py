"""Configuration of a pool or daemon: a TOML file, then the environment, then arguments.

    target = "docs:app"
    [pool]
    workers = 4
    limits = { memory = "512MiB", cpu_time = 30 }
    [audit]
    path = "audit.jsonl"

A later source wins key by key. An environment variable is PYPROC_ and the key in capitals, dots as
underscores: PYPROC_POOL_WORKERS, PYPROC_POOL_LIMITS_MEMORY, PYPROC_AUDIT_PATH. Its text is read as
a TOML value, and as plain text where it is none. "none" stands for Python's None. Every key that
nobody knows is an error that names the nearest one that somebody does.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from pyproc import _toml
from pyproc.audit import AuditOptions
from pyproc.config import Limits, Recycle, Timeouts
from pyproc.errors import ConfigError
from pyproc.rate import Rate
from pyproc.resilience import Breaker, Retry
from pyproc.sandbox import PROFILES, Sandbox

PREFIX = "PYPROC_"


class PoolTable(msgspec.Struct, kw_only=True):
    """`[pool]`: the options of `Pool` under their own names."""

    workers: int | UnsetType = UNSET
    min_workers: int | UnsetType = UNSET
    max_workers: int | UnsetType = UNSET
    python: str | UnsetType = UNSET
    path: list[str] | UnsetType = UNSET
    env: dict[str, str] | UnsetType = UNSET
    cwd: str | UnsetType = UNSET
    start_method: Literal["auto", "template", "exec"] | UnsetType = UNSET
    preload: list[str] | UnsetType = UNSET
    max_queue: int | UnsetType | None = UNSET
    max_queue_bytes: int | str | UnsetType | None = UNSET
    priority_step: float | UnsetType = UNSET
    idle_timeout: float | Literal["auto"] | UnsetType | None = UNSET
    limits: Limits | UnsetType = UNSET
    timeouts: Timeouts | UnsetType = UNSET
    recycle: Recycle | UnsetType = UNSET
    retry: Retry | UnsetType = UNSET
    breaker: Breaker | UnsetType = UNSET
    quarantine_after: int | UnsetType | None = UNSET
    output: Literal["forward", "capture", "drop"] | UnsetType = UNSET
    sandbox: str | Sandbox | UnsetType = UNSET
    rate: float | Rate | dict[str, float | Rate] | UnsetType = UNSET
    max_in_flight: int | UnsetType = UNSET
    bundles: str | UnsetType = UNSET


class ServeTable(msgspec.Struct, kw_only=True):
    """`[serve]`: what `pyproc serve` takes besides the pool."""

    socket: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    owner: str | int | UnsetType = UNSET
    group: str | int | UnsetType = UNSET
    policy: str | UnsetType = UNSET
    keys: str | UnsetType = UNSET
    require_key: bool | UnsetType = UNSET
    allow_uids: list[int] | UnsetType = UNSET
    allow_gids: list[int] | UnsetType = UNSET
    errors: Literal["safe", "full"] | UnsetType = UNSET
    max_clients: int | UnsetType = UNSET
    max_in_flight: int | UnsetType = UNSET
    max_frame: int | str | UnsetType = UNSET
    max_client_bytes: int | str | UnsetType = UNSET
    max_bytes: int | str | UnsetType = UNSET
    handshake_timeout: float | UnsetType = UNSET
    idle_timeout: float | UnsetType | None = UNSET
    drain_timeout: float | UnsetType | None = UNSET
    audit_allowed: bool | UnsetType = UNSET
    http: str | UnsetType = UNSET
    metrics: str | UnsetType = UNSET
    tls_cert: str | UnsetType = UNSET
    tls_key: str | UnsetType = UNSET
    token_file: str | UnsetType = UNSET


class ControlTable(msgspec.Struct, kw_only=True):
    """`[control]`: the control socket."""

    path: str | UnsetType = UNSET
    policy: str | UnsetType = UNSET


class Document(msgspec.Struct, kw_only=True):
    """The whole configuration; what nobody set is UNSET, and the default of its owner counts."""

    target: str | UnsetType = UNSET
    pool: PoolTable = msgspec.field(default_factory=PoolTable)
    audit: AuditOptions | UnsetType = UNSET
    serve: ServeTable = msgspec.field(default_factory=ServeTable)
    control: ControlTable = msgspec.field(default_factory=ControlTable)


class Setting(NamedTuple):
    """One value in force. source: "pyproc.toml:3", "PYPROC_POOL_WORKERS" or "argument"."""

    key: str
    value: Any
    source: str


class Loaded(NamedTuple):
    """A checked configuration and where each of its values is from."""

    document: Document
    settings: list[Setting]
    path: str | None

    def pool_options(self) -> dict[str, Any]:
        """Keyword arguments of `Pool`."""
        options = _given(self.document.pool)
        if not isinstance(self.document.audit, UnsetType):
            options["audit"] = self.document.audit
        if not isinstance(self.document.control.path, UnsetType):
            options["control"] = self.document.control.path
        if not isinstance(self.document.control.policy, UnsetType):
            options["control_policy"] = self.document.control.policy
        return options

    def serve_options(self) -> dict[str, Any]:
        """What `[serve]` says."""
        return _given(self.document.serve)

    def target(self) -> str:
        """What is served. ConfigError when the configuration names nothing."""
        if isinstance(self.document.target, UnsetType):
            raise ConfigError(
                "'target' is missing: the application, as in target = \"docs:app\"",
                self.path or "configuration",
            )
        return self.document.target


def _given(table: msgspec.Struct) -> dict[str, Any]:
    values = ((name, getattr(table, name)) for name in table.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Loaded:
    """Reads the file (None: PYPROC_CONFIG names it, else there is none), then the environment
    (None: this process's), then `arguments`: dotted keys to values. Relative paths in a file are
    relative to it. Raises ConfigError; nothing is started.
    """
    variables = os.environ if environment is None else environment
    if path is None:
        path = variables.get(f"{PREFIX}CONFIG") or None
    settings: dict[str, Setting] = {}
    others: dict[_toml.Path, str] = {}
    tables: dict[str, Any] = {}
    lines: dict[_toml.Path, int] = {}
    place = None if path is None else os.fspath(path)
    if place is not None:
        tables, lines = _toml.read(place)
        tables = _anchored(tables, os.path.dirname(os.path.abspath(place)))
        for keys, value in _flat(tables):
            line = _toml.line_at(keys, lines)
            name = _toml.dotted(keys)
            settings[name] = Setting(name, value, f"{place}:{line}")
    later = [*_of_environment(variables)]
    for key, value in (arguments or {}).items():
        keys = tuple(key.split("."))
        _check_known(keys, "argument")
        later.append(("argument", keys, value))
    for name, keys, value in later:
        _put(tables, keys, value, name)
        settings[_toml.dotted(keys)] = Setting(_toml.dotted(keys), value, name)
        others[keys] = name
        lines = {path: line for path, line in lines.items() if path[: len(keys)] != keys}
    builder = _toml.Builder(place or "configuration", lines, others)
    document: Document = builder.build(tables, Document)
    _check(document, place)
    return Loaded(document, sorted(settings.values()), place)


def _check(document: Document, place: str | None) -> None:
    """What only the tables together can tell."""
    pool = document.pool
    if isinstance(pool.sandbox, str) and pool.sandbox not in PROFILES:
        hint = _toml.nearest(pool.sandbox, PROFILES)
        raise ConfigError(
            f"there is no profile {pool.sandbox!r}; {hint}",
            place or "configuration",
            None,
            "pool.sandbox",
        )
    contradiction = pool.workers is not UNSET and (
        pool.min_workers is not UNSET or pool.max_workers is not UNSET
    )
    if contradiction:
        raise ConfigError(
            "workers and min_workers/max_workers contradict: use one of the two",
            place or "configuration",
            None,
            "pool.workers",
        )


#: Keys whose text is a path; relative ones in a file start where the file is.
_PATHS = {
    ("audit", "path"), ("audit", "key_file"), ("audit", "head"), ("audit", "recipient_file"),
    ("control", "path"), ("control", "policy"), ("serve", "socket"), ("serve", "policy"),
    ("serve", "keys"), ("serve", "tls_cert"), ("serve", "tls_key"), ("serve", "token_file"),
    ("pool", "cwd"), ("pool", "bundles"),
}  # fmt: skip


def _anchored(tables: dict[str, Any], folder: str) -> dict[str, Any]:
    for table, key in _PATHS:
        inside = tables.get(table)
        value = inside.get(key) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and isinstance(value, str) and value != "none":
            inside[key] = os.path.normpath(os.path.join(folder, value))
    target = tables.get("target")
    if isinstance(target, str) and (target.endswith(".py") or "/" in target):
        tables["target"] = os.path.normpath(os.path.join(folder, target))
    return tables


def _flat(tables: Mapping[str, Any], above: _toml.Path = ()) -> Iterator[tuple[_toml.Path, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*above, name))
        else:
            yield (*above, name), value


def _put(tables: dict[str, Any], keys: _toml.Path, value: Any, source: str) -> None:
    for key in keys[:-1]:
        inside = tables.setdefault(str(key), {})
        if not isinstance(inside, dict):
            if inside == "none" or isinstance(inside, str):  # sandbox = "strict", and now its keys
                inside = tables[str(key)] = {"profile": inside}
            else:
                raise ConfigError(f"{key!r} is set to {inside!r} already", source)
        tables = inside
    tables[str(keys[-1])] = value


def leaves(schema: Any = Document, above: _toml.Path = ()) -> Iterator[tuple[_toml.Path, Any]]:
    """Every key of the schema that holds a value, with its type."""
    for name, kind in _toml.fields_of(schema).items():
        inner = _toml.table_in(kind)
        if inner is not None:
            yield from leaves(inner, (*above, name))
        if inner is None or inner is Sandbox or inner is Rate:
            yield (*above, name), kind


def _of_environment(variables: Mapping[str, str]) -> Iterator[tuple[str, _toml.Path, Any]]:
    known = {PREFIX + "_".join(map(str, keys)).upper(): (keys, kind) for keys, kind in leaves()}
    tables = tuple(
        f"{PREFIX}{name.upper()}_" for name, kind in _toml.fields_of(Document).items()
        if _toml.table_in(kind) is not None
    )  # fmt: skip
    for name in sorted(variables):
        if name in known:
            keys, kind = known[name]
            yield name, keys, _value(variables[name], kind)
        elif name.startswith(tables):
            raise ConfigError(f"there is no such key; {_toml.nearest(name, known)}", name)


def _value(text: str, kind: Any) -> Any:
    if _toml.takes_text_only(kind):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _check_known(keys: Iterable[str | int], source: str) -> None:
    schema: Any = Document
    for at, key in enumerate(keys):
        known = _toml.fields_of(schema)
        if key not in known:
            hint = _toml.nearest(str(key), known)
            name = _toml.dotted([*keys][: at + 1])
            raise ConfigError(f"there is no such key; {hint}", source, None, name)
        inner = _toml.table_in(known[str(key)])
        if inner is None:
            return
        schema = inner


def from_text(text: str, key: str) -> Any:
    """A value of `--set KEY=TEXT`."""
    keys = tuple(key.split("."))
    _check_known(keys, "argument")
    return _value(text, dict(leaves()).get(keys, str | int))


def secretless(settings: Iterable[Setting]) -> list[Setting]:
    """The settings as they may be shown: values of environment variables are left out."""
    return [
        setting._replace(value="[not shown]") if setting.key.startswith("pool.env.") else setting
        for setting in settings
    ]
