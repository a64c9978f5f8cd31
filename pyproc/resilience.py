"""What a pool makes of repeated failures: retries, quarantine, circuit breakers.

Nothing here is done for a call that ends well while nothing is wrong: the rules are looked at
when a call has ended badly, and before a call only while something is remembered.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyproc import errors

if TYPE_CHECKING:
    from pyproc.events import Events

DIGESTS_MAX = 10_000
HASHED_MAX = 2**20
#: Retries that a pool may make before it has served any call.
BUDGET_START = 10.0
_OUTSIDE = frozenset({"neighbour", "keeper", "closed", "template", "renewed", "recycle", "retired"})


def _check_number(value: object, name: str, least: float, integer: bool = False) -> None:
    kinds = int if integer else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r}: {'an int' if integer else 'a number'} is needed")
    if not least <= value < float("inf"):
        raise ValueError(f"{name}={value!r}: {least} or more is needed")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Calls that failed are made again. Without it each call is made at most once.

    max_attempts: in all, so 1 means no retry. on_crash: when the worker died; such a call may have
    had effects already. on_exceptions: names of exceptions of the function, as "ConnectionError"
    or "package.module.Class" (not for items of a map). backoff: seconds before the first
    retry, doubled each time up to max_backoff, of which up to `jitter` (0 to 1) is left out at
    random. budget: retries that the pool may make for each call it gets, so that retries of a
    broken service do not double its load.
    """

    max_attempts: int = 1
    on_crash: bool = True
    on_exceptions: tuple[str, ...] = ()
    backoff: float = 0.05
    max_backoff: float = 5.0
    jitter: float = 0.5
    budget: float = 0.1

    def __post_init__(self) -> None:
        _check_number(self.max_attempts, "Retry.max_attempts", 1, integer=True)
        if not isinstance(self.on_crash, bool):
            raise TypeError(f"Retry.on_crash={self.on_crash!r}: True or False is needed")
        if isinstance(self.on_exceptions, str) or not isinstance(self.on_exceptions, Iterable):
            raise TypeError("Retry.on_exceptions is a tuple of names, not one string")
        names = [name if isinstance(name, str) else name.__name__ for name in self.on_exceptions]
        object.__setattr__(self, "on_exceptions", tuple(names))
        for name in ("backoff", "max_backoff", "jitter", "budget"):
            _check_number(getattr(self, name), f"Retry.{name}", 0)
        if self.jitter > 1:
            raise ValueError(f"Retry.jitter={self.jitter}: from 0 to 1 is possible")

    def pause(self, attempt: int) -> float:
        """Seconds before the attempt after this one (1 is the first)."""
        full: float = min(self.backoff * 2.0 ** min(attempt - 1, 60), self.max_backoff)
        return full * (1 - random.random() * self.jitter)  # noqa: S311  # nosec B311: no secret

    def wants(self, error: BaseException) -> bool:
        """Whether this is an end to try again after."""
        if is_loss(error):
            return self.on_crash
        if isinstance(error, errors.RemoteError):
            name = error.type_name
            return name in self.on_exceptions or name.rpartition(".")[2] in self.on_exceptions
        if isinstance(error, errors.Error):
            return False
        return any(kind.__name__ in self.on_exceptions for kind in type(error).__mro__)


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Stops calling a function that kills its workers.

    After `failures` deaths or run timeouts of one function within `window` seconds its circuit is
    open: calls raise CircuitOpen at once. After `cooldown` seconds one call may try (half-open):
    when it ends well the circuit is closed, else it opens again.
    """

    failures: int = 5
    window: float = 30.0
    cooldown: float = 10.0

    def __post_init__(self) -> None:
        _check_number(self.failures, "Breaker.failures", 1, integer=True)
        _check_number(self.window, "Breaker.window", 0.001)
        _check_number(self.cooldown, "Breaker.cooldown", 0.001)


def is_loss(error: BaseException) -> bool:
    """Whether the call was lost with its worker, by whatever fault."""
    return is_death(error) or getattr(error, "cause", None) == "neighbour"


def is_death(error: BaseException) -> bool:
    """Whether the request itself may be why its worker is no more."""
    if isinstance(error, errors.WorkerDied):
        return error.cause not in _OUTSIDE
    if isinstance(error, errors.MemoryLimitExceeded):
        return error.how != "rlimit"
    return isinstance(error, errors.CPUTimeExceeded | errors.ProtocolError)


def is_failure(error: BaseException) -> bool:
    """Whether the guard wants to know of it."""
    return is_death(error) or isinstance(error, errors.TaskTimeout)


class _Circuit:
    """One function's. Under the guard's lock."""

    def __init__(self) -> None:
        self.failures: deque[float] = deque()
        self.opened = 0.0  # when it was opened; 0: it is closed
        self.probing = 0.0  # when the one call that may try was let through; 0: none

    def state(self, cooldown: float, now: float) -> str:
        if not self.opened:
            return "closed"
        return "open" if now < self.opened + cooldown else "half-open"


class Guard:
    """The memory of one pool. Any thread."""

    def __init__(
        self, retry: Retry, breaker: Breaker | None, quarantine_after: int | None, events: Events
    ) -> None:
        if quarantine_after is not None:
            _check_number(quarantine_after, "quarantine_after", 1, integer=True)
        for name, value, kind in (("retry", retry, Retry), ("breaker", breaker, Breaker)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}={value!r}: a pyproc.{kind.__name__} is needed")
        self.retry = retry
        self._breaker = breaker
        self._after = quarantine_after
        self._events = events
        self._key = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._deaths: OrderedDict[bytes, tuple[int, str, str]] = OrderedDict()
        self._refused: set[bytes] = set()
        self._circuits: dict[str, _Circuit] = {}
        self._budget = BUDGET_START
        #: Whether something is remembered that the next call has to be held against.
        self.hot = False
        self._gates: list[Callable[[str, str], None]] = []
        self._isolated: set[str] = set()
        #: Whether calls are let through at a rate.
        self.is_rated = False
        #: Told of each call that was refused or ended badly; nothing it raises counts.
        self.observers: list[Callable[[str, BaseException, bytes | None], None]] = []
        self.retries = 0

    @property
    def refuses(self) -> bool:
        """Whether any request is in quarantine."""
        return bool(self._refused)

    def add_gate(self, gate: Callable[[str, str], None]) -> None:
        """`gate(function, key)` is asked before each call from now on; what it raises is how the
        call ends."""
        self._gates.append(gate)
        self._cool()

    # ---- before a call ----

    def admit(
        self, function: str, payload: bytes | None, key: str = "", patient: bool = False
    ) -> None:
        """Raises TaskQuarantined, CircuitOpen, FunctionIsolated, or what a gate does; patient:
        waits where it would be RateLimited. Only needed while `hot`."""
        while True:
            try:
                self._admit(function, payload)
                for gate in self._gates:
                    gate(function, key)
                return
            except errors.Error as error:
                if not (patient and isinstance(error, errors.RateLimited)):
                    self.tell(function, error, None)
                    raise
                time.sleep(min(error.retry_after, 1.0))

    def tell(self, function: str, error: BaseException, payload: bytes | None) -> None:
        """The observers, of a call that came to nothing."""
        for observer in self.observers:
            observer(function, error, payload)

    def _admit(self, function: str, payload: bytes | None) -> None:
        if function in self._isolated:
            raise errors.FunctionIsolated(
                f"{function!r} is isolated: no call of it is made until pool.release({function!r})",
                function,
            )
        with self._lock:
            if payload is not None and self._refused:
                digest = self._digest(function, payload)
                if digest in self._refused:
                    raise self._refusal(function, self._deaths[digest])
            circuit = self._circuits.get(function)
            if circuit is not None and circuit.opened and self._breaker is not None:
                self._pass(function, circuit, self._breaker)

    def _refusal(self, function: str, known: tuple[int, str, str]) -> errors.TaskQuarantined:
        return errors.TaskQuarantined(
            f"{function!r} with these arguments has ended {known[0]} workers (the last: "
            f"{known[2]}) and is not run again; see Pool(quarantine_after=) and pool.release()",
            function=function,
            deaths=known[0],
            cause=known[2],
        )

    def _pass(self, function: str, circuit: _Circuit, breaker: Breaker) -> None:
        now = time.monotonic()
        left = circuit.opened + breaker.cooldown - now
        if left <= 0 and (not circuit.probing or now > circuit.probing + breaker.cooldown):
            circuit.probing = now
            self._events.add("breaker", f"{function}: half-open")
            return
        raise errors.CircuitOpen(
            f"{function!r} has ended {breaker.failures} workers within {breaker.window:g} s; it is "
            f"tried again in {max(left, 0):.1f} s",
            function=function,
            retry_after=max(left, 0.0),
        )

    # ---- after a call ----

    def ended_well(self, function: str) -> None:
        """Of a call that was admitted while `hot`."""
        with self._lock:
            circuit = self._circuits.get(function)
            if circuit is None or not circuit.probing:
                return
            del self._circuits[function]
            self._cool()
        self._events.add("breaker", f"{function}: closed")

    def ended_badly(self, function: str, payload: bytes | None, error: BaseException) -> None:
        """Remembers deaths (and run timeouts, for the breaker)."""
        if self.observers:
            self.tell(function, error, payload)
        death = is_death(error)
        if not death and not isinstance(error, errors.TaskTimeout):
            if not isinstance(error, errors.TaskQuarantined | errors.CircuitOpen):
                self.ended_well(function)
            return
        alone = (getattr(error, "in_flight", None) or 0) < 2  # else it may be another's doing
        if death and alone and payload is not None and self._after is not None:
            self._count_death(function, payload, error)
        if self._breaker is not None and (death or getattr(error, "stage", "") == "run"):
            self._count_failure(function, self._breaker)

    def _count_death(self, function: str, payload: bytes, error: BaseException) -> None:
        cause = f"{type(error).__name__}, {getattr(error, 'cause', None)}"
        with self._lock:
            digest = self._digest(function, payload)
            count = self._deaths.pop(digest, (0, "", ""))[0] + 1
            self._deaths[digest] = (count, function, cause)
            if self._after is not None and count >= self._after:
                self._refused.add(digest)
            if len(self._deaths) > DIGESTS_MAX:
                self._refused.discard(self._deaths.popitem(last=False)[0])
            self._cool()
        if count == self._after:
            self._events.add("quarantine", f"{function}: {count} deaths, {cause}")

    def _count_failure(self, function: str, breaker: Breaker) -> None:
        now = time.monotonic()
        with self._lock:
            circuit = self._circuits.setdefault(function, _Circuit())
            circuit.failures.append(now)
            while circuit.failures and circuit.failures[0] < now - breaker.window:
                circuit.failures.popleft()
            enough = bool(circuit.probing) or len(circuit.failures) >= breaker.failures
            opens = enough and (circuit.probing or not circuit.opened)
            if enough:
                circuit.opened, circuit.probing = now, 0.0
            self.hot = True
        if opens:
            self._events.add("breaker", f"{function}: open")

    def _digest(self, function: str, payload: bytes) -> bytes:
        digest = hashlib.blake2b(function.encode(), key=self._key, digest_size=16)
        digest.update(len(payload).to_bytes(8, "big") + payload[:HASHED_MAX])
        return digest.digest()

    def _cool(self) -> None:
        self.hot = bool(self._refused or self._circuits or self._gates or self._isolated)

    # ---- retries ----

    def may_retry(self, retry: Retry, attempt: int, error: BaseException) -> float | None:
        """Seconds to wait before the next attempt; None: there is none."""
        if attempt >= retry.max_attempts or not retry.wants(error):
            return None
        with self._lock:
            if self._budget < 1:
                return None
            self._budget -= 1
            self.retries += 1
        self._events.add("retry", f"attempt {attempt + 1} after {type(error).__name__}")
        return retry.pause(attempt)

    def earn(self, retry: Retry) -> None:
        """A call with retries has begun: it brings its share of the budget."""
        with self._lock:
            self._budget = min(self._budget + retry.budget, max(BUDGET_START, 1000 * retry.budget))

    # ---- for people ----

    def isolate(self, function: str) -> None:
        """Refuses calls of the function from now on."""
        with self._lock:
            self._isolated.add(function)
            self._cool()
        self._events.add("isolate", f"{function}: isolated")

    def isolated(self) -> list[str]:
        """The functions that are."""
        with self._lock:
            return sorted(self._isolated)

    def quarantined(self) -> list[tuple[str, int, str]]:
        """(function, deaths, cause) of each refused request."""
        with self._lock:
            return [
                (function, count, cause)
                for count, function, cause in self._deaths.values()
                if self._after is not None and count >= self._after
            ]

    def release(self, function: str | None) -> int:
        """Forgets deaths, circuits and isolation, of one function or all; answers how many
        requests."""
        with self._lock:
            freed = sorted(self._isolated if function is None else self._isolated & {function})
            self._isolated.difference_update(freed)
            gone = [
                digest
                for digest, known in self._deaths.items()
                if function is None or known[1] == function
            ]
            for digest in gone:
                del self._deaths[digest]
                self._refused.discard(digest)
            if function is None:
                self._circuits.clear()
            else:
                self._circuits.pop(function, None)
            self._cool()
        for name in freed:
            self._events.add("isolate", f"{name}: released")
        return len(gone)

    def breakers(self) -> dict[str, str]:
        """One of closed, open and half-open for each function that has failed lately."""
        if self._breaker is None:
            return {}
        now = time.monotonic()
        with self._lock:
            return {
                function: circuit.state(self._breaker.cooldown, now)
                for function, circuit in self._circuits.items()
            }
