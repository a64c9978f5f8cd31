"""Proxies: a Protocol whose methods are functions of a pool, known to type checkers and editors.

What the workers publish about their functions is text that they wrote: it is cut into parameters
here and compared, nothing of it is evaluated. Any thread.
"""

from __future__ import annotations

import collections.abc
import concurrent.futures
import copy
import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyproc.errors import ProxyMismatch

if TYPE_CHECKING:
    from pyproc.calls import Calls

_STREAMS = ("Iterator", "Iterable", "Generator")
_ASTREAMS = ("AsyncIterator", "AsyncIterable", "AsyncGenerator")
#: Annotations that are compared; of others one name may stand for another.
_PLAIN = frozenset({"int", "float", "str", "bytes", "bool", "None"})
_SHOWN_MAX = 12
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Published:
    """A parameter of a worker's function, as its signature shows it."""

    name: str
    hint: str = ""
    default: str = ""


@dataclass
class Signature:
    """A worker's function: "(data: bytes, page: int = 0, *, dpi) -> str"."""

    positional: list[Published]
    keyword_only: list[Published]
    rest: bool = False
    keywords: bool = False
    result: str = ""

    def named(self) -> dict[str, Published]:
        """All that have a name to be given by."""
        return {one.name: one for one in self.positional + self.keyword_only}


def make(calls: Calls, protocol: Any, functions: Mapping[str, str]) -> Any:
    """The proxy. Raises TypeError for what is no class, ProxyMismatch for one that does not fit."""
    if not isinstance(protocol, type):
        raise TypeError(f"proxy: a Protocol class is needed, not {protocol!r}")
    members = _members(protocol)
    wrong = [text for name, member in members.items() for text in _check(name, member, functions)]
    if not members:
        wrong.append("it has no methods")
    if wrong:
        raise ProxyMismatch(
            f"{protocol.__qualname__} does not match the workers' functions:\n  "
            + "\n  ".join(wrong)
        )
    own = calls._pool.options() if calls is calls._pool else calls
    return _Proxy(protocol, {name: _method(own, name, member) for name, member in members.items()})


class _Proxy:
    """Answers for one Protocol; its methods are attributes of the instance."""

    def __init__(self, protocol: type, methods: dict[str, Any]) -> None:
        self.__dict__.update(methods)
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(n for n in self.__dict__ if not n.startswith("_"))
        raise AttributeError(f"{self.__dict__['_protocol'].__qualname__} has no {name!r}: {known}")

    def __repr__(self) -> str:
        return f"<pyproc proxy of {self._protocol.__qualname__}>"


def _members(protocol: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for owner in reversed(protocol.__mro__):
        if owner in (object, typing.Protocol, typing.Generic):
            continue
        for name in getattr(owner, "__annotations__", {}):
            if not name.startswith("_"):
                found[name] = None
        found |= {name: value for name, value in vars(owner).items() if not name.startswith("_")}
    return found


# ---- what is called ----


def _method(calls: Calls, name: str, member: Any) -> Callable[..., Any]:
    way, hint = _way(member, typing.get_type_hints(member).get("return"))
    if hint not in (None, type(None), Any) and calls._type is None:
        calls = copy.copy(calls)
        calls._type = hint
    method = functools.partial(getattr(calls, way), name)
    functools.update_wrapper(method, member)
    signature = inspect.signature(member)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:]
    )
    return method


def _way(member: Any, hint: Any) -> tuple[str, Any]:
    """Which of Calls' methods it is, and the type of what comes back."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    name = getattr(origin, "__name__", "")
    if inspect.isasyncgenfunction(member) or name in _ASTREAMS:
        return "astream", parts[0] if parts else None
    if inspect.iscoroutinefunction(member):
        return "acall", hint
    if inspect.isgeneratorfunction(member) or name in _STREAMS:
        return "stream", parts[0] if parts else None
    if origin in (collections.abc.Awaitable, collections.abc.Coroutine):
        return "acall", parts[-1] if parts else None
    if isinstance(origin, type) and issubclass(origin, concurrent.futures.Future):
        return "submit", parts[0] if parts else None
    return "call", hint


# ---- what fits ----


def _check(name: str, member: Any, functions: Mapping[str, str]) -> list[str]:
    if not inspect.isfunction(member):
        kind = "an attribute" if member is None else f"a {type(member).__name__}"
        return [f"{name}: a proxy has plain methods only, this is {kind}"]
    if name not in functions:
        return [f"{name}() is not exposed; {_existing(name, functions)}"]
    try:
        hints = typing.get_type_hints(member)
    except Exception as error:
        return [f"{name}(): its annotations cannot be read: {type(error).__name__}: {error}"]
    mine = list(inspect.signature(member).parameters.values())
    if not mine or mine[0].kind not in _POSITIONAL:
        return [f"{name}(): a method needs self"]
    way, hint = _way(member, hints.get("return"))
    if "stream" in way and inspect.iscoroutinefunction(member):
        return [f"{name}(): a stream is not awaited: write def, not async def"]
    if not functions[name]:
        return []  # a server does not tell
    theirs = parse(functions[name])
    wrong = [*_parameters(mine[1:], theirs, hints), *_left(mine[1:], theirs)]
    wrong += _result(way, hint, theirs.result)
    here = str(inspect.signature(member))
    return [f"{name}(): {text}; there: {functions[name]}, here: {here}" for text in wrong]


def _existing(name: str, functions: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, functions, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(list(functions)[:_SHOWN_MAX])
    return f"{hint}there are: {shown}{', ...' if len(functions) > _SHOWN_MAX else ''}"


def _parameters(
    mine: list[inspect.Parameter], theirs: Signature, hints: Mapping[str, Any]
) -> list[str]:
    """What of the method's parameters the function does not take."""
    wrong = []
    named = theirs.named()
    for at, one in enumerate(mine):
        if one.kind is one.VAR_POSITIONAL:
            if not theirs.rest:
                wrong.append(f"the function takes no *{one.name}")
            continue
        if one.kind is one.VAR_KEYWORD:
            if not theirs.keywords:
                wrong.append(f"the function takes no **{one.name}")
            continue
        its = named.get(one.name)
        if one.kind in _POSITIONAL:
            by_place = theirs.positional[at] if at < len(theirs.positional) else None
            if by_place is None and its is not None and its in theirs.keyword_only:
                wrong.append(f"{one.name!r} is keyword-only there: put it behind a *")
                continue
            if by_place is not None and one.kind is not one.POSITIONAL_ONLY and by_place is not its:
                place = f"the function's parameter {at + 1} is {by_place.name!r}"
                wrong.append(f"{place}, not {one.name!r}")
                continue
            its = by_place
        if its is None:
            takes = theirs.rest if one.kind in _POSITIONAL else theirs.keywords
            if not takes:
                wrong.append(f"the function has no parameter {one.name!r}")
            continue
        wrong += _one(one, its, hints)
    return wrong


def _one(one: inspect.Parameter, its: Published, hints: Mapping[str, Any]) -> list[str]:
    wrong = []
    if one.default is not one.empty:
        if not its.default:
            wrong.append(f"{one.name!r} may be left out here, but not there")
        elif its.default != "..." and one.default is not ... and repr(one.default) != its.default:
            wrong.append(f"the default of {one.name!r} is {its.default}, not {one.default!r}")
    mine = _name_of(hints.get(one.name))
    if _differ(mine, its.hint):
        wrong.append(f"{one.name!r} is {its.hint} there, not {mine}")
    return wrong


def _left(mine: list[inspect.Parameter], theirs: Signature) -> list[str]:
    """What the function needs and the method does not have."""
    places = sum(one.kind in _POSITIONAL for one in mine)
    names = {one.name for one in mine}
    if not any(one.kind is one.VAR_POSITIONAL for one in mine):
        missing = [one for one in theirs.positional[places:] if one.name not in names]
    else:
        missing = []
    missing += [one for one in theirs.keyword_only if one.name not in names]
    if any(one.kind is one.VAR_KEYWORD for one in mine):
        missing = []
    return [f"the function needs {one.name!r}" for one in missing if not one.default]


def _result(way: str, hint: Any, result: str) -> list[str]:
    if not result:
        return []
    name = result.partition("[")[0].rpartition(".")[2]
    is_stream = name in (*_STREAMS, *_ASTREAMS)
    if is_stream and "stream" not in way:
        return ["the function is a stream: an Iterator or AsyncIterator is its result"]
    if not is_stream and "stream" in way and (result in _PLAIN or "[" in result):
        return ["the function is no stream"]
    mine = _name_of(hint)
    if not is_stream and _differ(result, mine):
        return [f"the result is {result}, not {mine}"]
    return []


def _differ(given: str, taken: str) -> bool:
    """Whether a value of the one plain type will not do as the other."""
    if given == taken or given not in _PLAIN or taken not in _PLAIN:
        return False
    return (given, taken) not in (("int", "float"), ("bool", "int"), ("bool", "float"))


def _name_of(hint: Any) -> str:
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else ""


# ---- the published text ----


def parse(text: str) -> Signature:
    """Cuts "(a: int, *, b=1) -> str" up; what does not look like it has no parameters."""
    inner, _, result = _close(text)
    found = Signature([], [], result=result)
    keyword_only = False
    for part in _split(inner):
        if part.startswith("**"):
            found.keywords = True
        elif part.startswith("*"):
            found.rest = found.rest or len(part) > 1
            keyword_only = True
        elif part and part != "/":
            (found.keyword_only if keyword_only else found.positional).append(_published(part))
    return found


def _published(part: str) -> Published:
    at = _find(part, "=")
    head, default = (part, "") if at < 0 else (part[:at], part[at + 1 :].strip())
    name, _, hint = head.partition(":")
    return Published(name.strip(), hint.strip(), default)


def _close(text: str) -> tuple[str, str, str]:
    """Between the first parenthesis and its other one; and what is behind the arrow."""
    if not text.startswith("("):
        return "", "", ""
    at = _find(text[1:], ")") + 1
    if at == 0:
        return text[1:], "", ""
    return text[1:at], ")", text[at + 1 :].partition("->")[2].strip()


def _split(text: str) -> list[str]:
    parts = []
    while (at := _find(text, ",")) >= 0:
        parts.append(text[:at].strip())
        text = text[at + 1 :]
    return [*parts, text.strip()]


def _find(text: str, wanted: str) -> int:
    """The first place of a character outside of brackets and quotes; -1: none."""
    depth, quote, escaped = 0, "", False
    for at, char in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char == wanted and depth == 0:
            return at
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
    return -1
