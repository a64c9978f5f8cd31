"""The exception tree, and how failures and ends that the core reports become exceptions.

Everything that comes from a worker is hostile: text is cut to a bound, nothing is evaluated,
and only built-in `Exception` subclasses are ever made again from their name. This module is
imported by the worker too, so it imports nothing itself. Exceptions may be pickled; their
facts are attributes. All functions may be called from any thread.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    #: relation, parent, type_name, message, traceback, arguments, attributes, notes, suppress
    Node = tuple[int, int, str, str, str, bytes, bytes, tuple[str, ...], bool]

# Of proto/pyproc.proto.
KIND_EXCEPTION, KIND_VALIDATION, KIND_CODEC, KIND_UNKNOWN, KIND_TOO_LARGE, KIND_START = range(1, 7)
RELATION_ROOT, RELATION_CAUSE, RELATION_CONTEXT, RELATION_MEMBER = range(4)

# Of csrc/include/pyproc.h (enum pyproc_end).
(
    END_CRASHED,
    END_EXITED,
    END_KILLED,
    END_RUN_TIMEOUT,
    END_QUEUE_TIMEOUT,
    END_TASK_KILLED,
    END_PROTOCOL,
    END_START,
    END_CLOSED,
    END_QUEUE_FULL,
    END_TOO_LARGE,
    END_NESTED,
    END_INTERRUPTED,
    END_MEMORY,
    END_CPU,
    END_OUTPUT,
    END_PROCESSES,
    END_THREADS,
    END_LOST,
) = range(2, 21)

# The same, of named sockets.
END_DENIED, END_RATE, END_UNPROVEN, END_INVALID, END_DISCONNECTED = range(40, 45)


class Error(Exception):
    """Everything that pyproc itself raises."""


class PoolClosed(Error):
    """The pool is closed, or belongs to the process that this one was forked from."""


class QueueFull(Error):
    """As many calls wait as the pool may hold (`max_queue`, `max_queue_bytes`)."""


class _Facts(Error):
    """What is known of a worker and its death. A fact that nobody knows is None."""

    #: Number of the signal that ended the worker.
    signal: int | None = None
    #: What the worker left with.
    exit_code: int | None = None
    pid: int | None = None
    #: The pool's own number for the worker.
    worker_id: int | None = None
    call_id: int | None = None
    #: Name of the function that was called.
    function: str | None = None
    #: Seconds since the worker's start.
    age: float | None = None
    #: Calls that the worker had answered before.
    tasks_done: int | None = None
    #: Calls that ended with the worker; above 1 nobody knows whose doing it was.
    in_flight: int | None = None
    #: One word: who or what ended it.
    cause: str | None = None
    #: False: `cause` is likely, not sure. "oom" is told by a counter of the whole machine.
    certain: bool | None = None
    #: Python's stack at the moment of the crash, as the worker's fault handler wrote it.
    python_stack: str | None = None
    #: Why there is none.
    python_stack_missing: str | None = None
    #: The last lines that the worker wrote to stderr.
    stderr_tail: str | None = None
    #: Seconds of `user` and `system` time, bytes of `max_rss`.
    rusage: dict[str, float] | None = None
    #: Bytes.
    peak_rss: int | None = None

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)


class SandboxUnavailable(Error):
    """This machine cannot enforce what the sandbox asks for; nothing was started.

    effect: what cannot be had. mechanism: what would have given it. answer: the kernel's. remedy:
    what would help.
    """

    def __init__(
        self, effect: str = "", mechanism: str = "", answer: str = "", remedy: str = ""
    ) -> None:
        super().__init__(
            f"the sandbox cannot give {effect}: {mechanism} answers {answer!r}; {remedy}, or "
            f"Sandbox(on_unsupported='report') to start without it, sandbox='none' without any"
        )
        self.effect, self.mechanism, self.answer, self.remedy = effect, mechanism, answer, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.effect, self.mechanism, self.answer, self.remedy)


class WorkerStartError(_Facts):
    """No worker could be started; the cause says what the application or the system said."""


class WorkerDied(_Facts):
    """The worker ended before it answered. Only this call is lost."""


class WorkerCrashed(WorkerDied):
    """The worker was ended by a signal of its own making, such as SIGSEGV."""


class SandboxViolation(WorkerDied):
    """The worker made a system call that its sandbox never allows, and was ended for it.

    Which call it was is the kernel's word where the host listens (`pool.isolation_report()`, line
    "tripwire"; `signal` is then SIGKILL, the host's own), else (SIGSYS) the worker's.
    """

    #: Name and number of the system call; None: not known.
    syscall: str | None = None
    number: int | None = None
    #: Its six arguments as the kernel got them. (`args` is every exception's own.)
    syscall_args: tuple[int, ...] | None = None


class WorkerExited(WorkerDied):
    """The worker left by itself: `os._exit`, or a C library's `exit`."""


class WorkerKilled(WorkerDied):
    """Somebody killed the worker; `cause` says who."""


class ProcessLimitExceeded(WorkerDied):
    """The worker had more processes than `Limits(processes=)` allows; all were killed."""

    limit: int | None = None
    #: How many there were when they were counted.
    used: int | None = None


class ThreadLimitExceeded(WorkerDied):
    """The worker had more threads than `Limits(threads=)` allows, and was killed."""

    limit: int | None = None
    #: How many there were, beyond those before the first call, when they were counted.
    used: int | None = None


class TaskTimeout(_Facts, TimeoutError):
    """The call took too long and was stopped; `stage` is "queue" (never started) or "run"."""

    stage: str | None = None


class TaskKilled(_Facts):
    """The call was stopped because the caller asked for it."""


class MemoryLimitExceeded(_Facts, MemoryError):
    """The call wanted more memory than `Limits(memory=)` or `options(memory=)` allows."""

    #: Bytes allowed beyond what the worker held before its first call.
    limit: int | None = None
    #: Bytes held when it was stopped; None when the kernel refused them.
    peak: int | None = None
    #: "watchdog": the worker was killed. "rlimit": the kernel refused one large piece.
    how: str | None = None


class CPUTimeExceeded(_Facts):
    """The call used more processor time than `Limits(cpu_time=)` allows; its worker was killed."""

    #: Seconds.
    limit: float | None = None
    used: float | None = None


class OutputLimitExceeded(_Facts):
    """The call printed more than `Limits(output=)` allows; one that still ran was killed."""

    #: Bytes.
    limit: int | None = None
    used: int | None = None


class TaskQuarantined(_Facts):
    """The same request has ended several workers and is not run again."""

    deaths: int | None = None


class CircuitOpen(Error):
    """The function has ended workers too often lately; it is not called for a while."""

    def __init__(self, message: str = "", function: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.function = function
        #: Seconds until it is tried again.
        self.retry_after = retry_after


class AuthenticationError(Error):
    """The other end could not prove who it is. `code` is one word for programs."""

    code: str = "authentication"

    def __init__(self, message: str = "", code: str = "authentication") -> None:
        super().__init__(message)
        self.code = code


class AccessDenied(Error, PermissionError):
    """Who called may not call this. The sentence holds nothing that a caller may not know; what
    was decided and why stands in the audit log under `correlation_id`."""

    def __init__(
        self, message: str = "", function: str | None = None, correlation_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.function = function
        self.correlation_id = correlation_id


class RateLimited(Error):
    """More calls than `Pool(rate=)` or the caller's role allows; nothing was started."""

    def __init__(self, message: str = "", function: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.function = function
        #: Seconds until a call of this kind is allowed again.
        self.retry_after = retry_after


class RequestRefused(Error, ValueError):
    """A server found the request malformed, or over one of its limits; no worker has seen it."""


class Disconnected(Error, ConnectionError):
    """The connection to the server is gone, or there is none. A call that was under way may have
    run; the next call connects again."""


class FunctionIsolated(Error):
    """Somebody has isolated the function (`pool.isolate`): no call of it is made until it is
    released."""

    def __init__(self, message: str = "", function: str = "") -> None:
        super().__init__(message)
        self.function = function


class AuditError(Error):
    """The audit log cannot be written, or is not what it should be."""


class ConfigError(Error, ValueError):
    """A configuration or policy is wrong; nothing of it is in force.

    `source`: the file, or "environment" or "argument". `line`: in the file, None when there is
    none. `key`: the dotted name. `reason`: what is wrong and what would do.
    """

    def __init__(
        self, reason: str = "", source: str = "", line: int | None = None, key: str = ""
    ) -> None:
        where = f"{source}:{line}" if line is not None else source
        words = [part for part in (where, key, reason) if part]
        super().__init__(": ".join(words))
        self.reason, self.source, self.line, self.key = reason, source, line, key


class ProtocolError(_Facts):
    """The worker broke the protocol and was killed."""


class ResultTooLarge(Error):
    """A value is larger than may be sent; see `Limits(result_size=)`."""


class ValidationError(Error, ValueError):
    """A value does not fit its annotation.

    `path` names it: "argument 'page'", "result[3].name".
    """

    def __init__(self, message: str = "", path: str = "") -> None:
        super().__init__(message)
        self.path = path


class UnsafePath(Error, ValueError):
    """A path from outside would leave the directory it belongs below; see `safe_path`."""


class CodecError(Error):
    """A value cannot be carried between host and worker; `path` names it."""

    def __init__(self, message: str = "", path: str = "") -> None:
        super().__init__(message)
        self.path = path


class UnknownFunction(Error, LookupError):
    """The application exposes no function of that name."""

    function: str | None = None


class ActorLost(_Facts):
    """The worker that held the actor has ended, and it may not be made again. `__cause__` is what
    ended the worker, where that is known."""


class ProxyMismatch(Error, TypeError):
    """A Protocol does not fit the workers' functions; the text names each method and what there
    is instead."""


class RemoteError(Error):
    """The function raised something whose class is not made again here.

    That is every class that is not a built-in `Exception`: the host imports nothing because a
    worker named it. `attributes` holds what the exception carried, as plain data.
    """

    def __init__(self, type_name: str = "", message: str = "", remote_traceback: str = "") -> None:
        super().__init__(type_name, message, remote_traceback)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback
        self.attributes: dict[str, object] = {}

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class RemoteTraceback(Exception):
    """Stands at the end of a chain of causes, so that printing shows the worker's traceback."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}" if self.args else ""


class ItemFailure:
    """An item of a chunk that raised, in the place of its value."""

    __slots__ = ("_payload",)

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def exception(self, function: str = "", call_id: int = 0) -> BaseException:
        """What the item raised; a `ProtocolError` when the worker's words make no sense."""
        from pyproc import _rebuild

        return _rebuild.from_item(self._payload, function, call_id)

    def __repr__(self) -> str:
        return f"<ItemFailure of {len(self._payload)} bytes>"


def from_failure(
    kind: int, nodes: Sequence[Node], path: str, function: str, call_id: int
) -> BaseException:
    """The exception that a worker's failure stands for. Never raises on hostile input."""
    from pyproc import _rebuild

    return _rebuild.from_failure(kind, nodes, path, function, call_id)


def from_end(end: int, fields: Mapping[str, Any]) -> Exception:
    """The exception for a call that ended without an answer of the function."""
    from pyproc import _ends

    return _ends.from_end(end, fields)
