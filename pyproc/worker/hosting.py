"""Actors: objects of exposed classes that live in this worker, each under the number that the host
gave it.

`app.expose` of a class makes one function of it that builds an object, one for each of its methods,
and one that closes it; each takes the object's number in the place of `self`. Main thread only.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyproc.worker.registry import App

#: What closes an object, behind the class's name.
CLOSE = "__close__"
#: Numbers of actors; keys of other calls are below.
FIRST = 2**63

_objects: dict[int, tuple[str, Any]] = {}


class Part:
    """One function of an exposed class. It looks like the class's own to who asks for its
    signature, its annotations, or whether it is a generator."""

    keywords: dict[str, object] = {}  # noqa: RUF012 (as a functools.partial has them)

    def __init__(self, owner: str, function: Callable[..., Any]) -> None:
        self.owner = owner
        self.func = self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", "")
        self.__annotations__ = getattr(function, "__annotations__", {})
        self.__globals__ = getattr(function, "__globals__", {})

    def __call__(self, actor: object, /, *args: Any, **kwargs: Any) -> Any:
        """A method."""
        return self.func(_find(self.owner, actor), *args, **kwargs)


class Maker(Part):
    """Builds an object."""

    def __init__(self, owner: str, kind: type) -> None:
        init: Any = kind.__init__  # type: ignore[misc]
        super().__init__(owner, _bare if init is object.__init__ else init)
        self.kind = kind

    def __call__(self, actor: object, /, *args: Any, **kwargs: Any) -> None:
        _check(self.owner, actor)
        if actor in _objects:
            raise ValueError("there is such an actor already")
        made = self.kind(*args, **kwargs)
        if not hasattr(made, "close") and hasattr(made, "__exit__"):
            made.__enter__()
        _objects[actor] = (self.owner, made)  # type: ignore[index]


class Closer(Part):
    """Ends an object: its `close()`, else its `__exit__`, when it has one."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner, _bare)

    def __call__(self, actor: object, /, *args: Any, **kwargs: Any) -> Any:
        found = _find(self.owner, actor)
        del _objects[actor]  # type: ignore[arg-type]
        return _close(found)


def _bare(self: object) -> None:
    """The signature of who takes nothing."""


def _close(found: Any) -> Any:
    close = getattr(found, "close", None)
    if callable(close):
        return close()
    leave = getattr(type(found), "__exit__", None)
    return None if leave is None else leave(found, None, None, None)


def _check(owner: str, actor: object) -> None:
    if not isinstance(actor, int) or actor < FIRST:
        raise TypeError(f"{owner} is a class: use pool.actor({owner!r}, ...)")


def _find(owner: str, actor: object) -> Any:
    _check(owner, actor)
    name, found = _objects.get(actor, ("", None))  # type: ignore[call-overload]
    if name != owner:
        raise LookupError(f"there is no such {owner} in this worker: it was closed")
    return found


def methods_of(kind: type) -> dict[str, Callable[..., Any]]:
    """What others may call: plain methods, also inherited ones, without an underscore."""
    found: dict[str, Callable[..., Any]] = {}
    for owner in reversed(kind.__mro__):
        for name, value in vars(owner).items():
            found.pop(name, None)
            if type(value).__name__ == "function" and not name.startswith("_"):
                found[name] = value
    return found


def expose(app: App, kind: type, name: str) -> None:
    """Adds the functions of a class to an App."""
    app._put(Maker(name, kind), name)
    for method, function in methods_of(kind).items():
        app._put(Part(name, function), f"{name}.{method}")
    app._put(Closer(name), f"{name}.{CLOSE}")
    if close_all not in app._stop_hooks:
        app._stop_hooks.insert(0, close_all)  # it runs after the application's own


def close_all() -> None:
    """The worker leaves: what is left is closed."""
    while _objects:
        _, (owner, found) = _objects.popitem()
        try:
            ended = _close(found)
            if type(ended).__name__ == "coroutine":
                from pyproc.worker.tasks import run_coroutine

                run_coroutine(ended)
        except Exception as error:
            print(f"pyproc worker: closing a {owner} failed: {error!r}", file=sys.stderr)
