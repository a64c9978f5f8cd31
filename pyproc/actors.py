"""Actors in the host: a handle of an object that lives in one worker.

An actor has a number, drawn at random, which is the key of its calls (csrc/pool/sticky.c): they go
to its worker and to no other, one at a time. Any thread.
"""

from __future__ import annotations

import _thread
import contextlib
import copy
import difflib
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal, Self

from pyproc import aio
from pyproc.errors import ActorLost, Error, PoolClosed, UnknownFunction
from pyproc.worker.hosting import CLOSE, FIRST

if TYPE_CHECKING:
    from pyproc.calls import Calls
    from pyproc.future import Future
    from pyproc.streams import AsyncStream, Stream

Restart = int | Literal["always"]
#: Seconds before an actor is made again; doubled each time, until a call has succeeded.
_PAUSE, _PAUSE_MAX = 0.1, 30.0
#: Of csrc/include/pyproc.h.
_KEY_ACTOR_NEW, _KEY_ACTOR = 1, 2
_SHOWN_MAX = 12


def check_restart(restart: object) -> Restart:
    """The rule, or TypeError or ValueError."""
    if restart == "always":
        return "always"
    if isinstance(restart, bool) or not isinstance(restart, int):
        raise TypeError(f"restart={restart!r}: a number of times, or 'always', is needed")
    if restart < 0:
        raise ValueError(f"restart={restart!r}: 0 or more is needed")
    return restart


class _Held:
    """One life of an actor: its number, and the calls that reach it."""

    def __init__(self, base: Calls, name: str) -> None:
        self.name = name
        self.key = secrets.randbits(63) | FIRST
        self.maker = self._with(base, _KEY_ACTOR_NEW)
        self.calls = self._with(base, _KEY_ACTOR)

    def _with(self, base: Calls, use: int) -> Calls:
        calls = copy.copy(base)
        calls._rare = {**(base._rare or {}), "key": self.key, "key_use": use}
        return calls

    def end(self) -> None:
        """Closes the object and forgets it. Raises what closing raises."""
        try:
            self.calls.call(f"{self.name}.{CLOSE}", self.key)
        finally:
            self.forget()

    def forget(self) -> None:
        """Nobody will call it again."""
        self.calls._core.key_drop(self.key)


class Actor:
    """An object of an exposed class, in one worker; what `Pool.actor` answers. Any thread.

    `actor.method(...)` blocks, `await actor.method.acall(...)`, `actor.method.submit(...)` answers
    a Future, `.stream` and `.astream` are for methods that are generators. Its calls run one at a
    time, in the order in which they came. Close it, use it with `with`, or drop it.

    When its worker ends, calls that had started end with that, and later ones with ActorLost,
    unless options(restart=) has it made again, with the same arguments, by the next `call` or
    `acall`.
    """

    def __init__(
        self, calls: Calls, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._finalizer: Any = None
        self._base = calls._pool.options() if calls is calls._pool else calls
        self._name = name
        self._made_with = (args, kwargs)
        self._methods = _methods(name, calls._pool.functions())
        self._left: Restart = calls.restart
        self._failures = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._held = self._make()

    def _make(self) -> _Held:
        held = _Held(self._base, self._name)
        args, kwargs = self._made_with
        try:
            held.maker.call(self._name, held.key, *args, **kwargs)
        except BaseException:
            held.forget()
            raise
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _drop, held)
        self._finalizer.atexit = False
        return held

    def _now(self) -> _Held:
        if self._is_closed:
            raise ActorLost(f"this {self._name} is closed")
        return self._held

    def _again(self, held: _Held, error: ActorLost) -> None:
        """Its worker has ended: makes it again, or raises that it is lost."""
        with self._lock:
            while self._held is held:
                if self._is_closed or self._left == 0:
                    raise error
                if self._left != "always":
                    self._left -= 1
                time.sleep(min(_PAUSE * 2**self._failures, _PAUSE_MAX))
                self._failures = min(self._failures + 1, 20)
                try:
                    self._held = self._make()
                except PoolClosed:
                    raise
                except Exception as failed:
                    error = ActorLost(f"the {self._name} could not be made again: {failed}")
                    error.__cause__ = failed
            held.forget()

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        while True:
            held = self._now()
            try:
                value = held.calls.call(f"{self._name}.{method}", held.key, *args, **kwargs)
            except ActorLost as error:
                self._again(held, error)
            else:
                self._failures = 0
                return value

    async def _acall(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        while True:
            held = self._now()
            try:
                value = await held.calls.acall(f"{self._name}.{method}", held.key, *args, **kwargs)
            except ActorLost as error:
                await aio.in_thread(self._again, held, error)
            else:
                self._failures = 0
                return value

    def close(self) -> None:
        """Runs the object's `close()`, else its `__exit__`, after the calls that wait, and frees
        it. Raises what that raises; of a lost actor nothing. Once more is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        self._finalizer.detach()
        with contextlib.suppress(ActorLost, PoolClosed):
            self._held.end()

    async def aclose(self) -> None:
        """The same for asyncio."""
        await aio.in_thread(self.close)

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: an actor's names with an underscore are its own")
        if name not in self._methods:
            near = difflib.get_close_matches(name, self._methods, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise AttributeError(
                f"{self._name} has no method {name!r}; {hint}there are: {_shown(self._methods)}"
            )
        return Method(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._methods]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<pyproc.Actor {self._name}{' closed' if self._is_closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("an Actor cannot be pickled: it belongs to the process that made it")


class Method:
    """One method of an actor."""

    def __init__(self, actor: Actor, name: str) -> None:
        self._actor = actor
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Calls it and answers its result; as `Pool.call`, and ActorLost."""
        return self._actor._call(self._name, args, kwargs)

    async def acall(self, /, *args: Any, **kwargs: Any) -> Any:
        """The same for asyncio. Cancelling stops the work, and with it the actor's worker, unless
        the pool has Timeouts(grace=) and the method ends in that time."""
        return await self._actor._acall(self._name, args, kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Future:
        """Queues the call. A lost actor is the future's ActorLost; it is not made again for it."""
        held = self._actor._now()
        return held.calls.submit(self._where(), held.key, *args, **kwargs)

    def stream(self, /, *args: Any, **kwargs: Any) -> Stream:
        """Of a generator: its items as they are made. Other calls wait until it has ended."""
        held = self._actor._now()
        return held.calls.stream(self._where(), held.key, *args, **kwargs)

    def astream(self, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """The same for asyncio."""
        held = self._actor._now()
        return held.calls.astream(self._where(), held.key, *args, **kwargs)

    def _where(self) -> str:
        return f"{self._actor._name}.{self._name}"

    def __repr__(self) -> str:
        return f"<pyproc.Actor method {self._where()}>"


def _methods(name: str, functions: dict[str, str]) -> list[str]:
    """The methods of an exposed class. UnknownFunction: there is none of that name."""
    if not isinstance(name, str):
        raise TypeError(f"actor({name!r}): the name of an exposed class is needed")
    if f"{name}.{CLOSE}" not in functions:
        classes = [one.removesuffix(f".{CLOSE}") for one in functions if one.endswith(f".{CLOSE}")]
        near = difflib.get_close_matches(name, classes, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        what = "is a function, not a class" if name in functions else "is not an exposed class"
        raise UnknownFunction(f"{name!r} {what}; {hint}classes: {_shown(classes) or 'none'}")
    start = f"{name}."
    return [
        one.removeprefix(start)
        for one in functions
        if one.startswith(start) and not one.endswith(f".{CLOSE}")
    ]


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_MAX]) + (", ..." if len(names) > _SHOWN_MAX else "")


def _drop(held: _Held) -> None:
    """Nobody has the handle any more. This may be the garbage collector in any place, where nothing
    may be waited for."""
    with contextlib.suppress(RuntimeError):  # the interpreter ends, and the pool with it
        _thread.start_new_thread(_end, (held,))


def _end(held: _Held) -> None:
    with contextlib.suppress(Error, Exception):
        held.end()
