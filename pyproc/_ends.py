"""Ends of calls, as sentences: what happened, to whom, and what to do about it.

Used on the host when a call has no answer of its function. Facts come from the core; text of
the worker (stderr, stack) is shown as text only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyproc import errors

_FACTS = frozenset(errors._Facts.__annotations__)
_STACK_LINES = 30
_TAIL_LINES = 10
_LINE_MAX = 400


def from_end(end: int, fields: Mapping[str, Any]) -> Exception:
    """See `errors.from_end`."""
    maker = _MAKERS.get(end, _unknown)
    return maker(fields)


def _facts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in _FACTS and value is not None}


def _where(fields: Mapping[str, Any]) -> str:
    """ "while it ran 'extract' (worker 2, pid 4711)", as far as it is known."""
    parts = []
    if fields.get("function"):
        parts.append(f" while it ran {fields['function']!r}")
    who = [
        f"{label} {fields[name]}"
        for name, label in (("worker_id", "worker"), ("pid", "pid"))
        if fields.get(name) is not None
    ]
    if who:
        parts.append(f" ({', '.join(who)})")
    return "".join(parts)


def _last_lines(text: object, lines: int) -> str:
    if not isinstance(text, str):
        return ""
    kept = [line[:_LINE_MAX] for line in text.strip("\n").splitlines()]
    return "\n".join(f"  {line}" for line in kept[-lines:])


def _first_lines(text: object, lines: int) -> str:
    if not isinstance(text, str):
        return ""
    kept = [line[:_LINE_MAX] for line in text.strip("\n").splitlines()]
    return "\n".join(f"  {line}" for line in kept[:lines])


def _sentence(head: str, fields: Mapping[str, Any], advice: str = "") -> str:
    text = head + (f": {fields['text']}" if fields.get("text") else "")
    if advice:
        text += f"; {advice}"
    stack = _first_lines(fields.get("python_stack"), _STACK_LINES)
    if stack:
        text += f"\nIts Python stack:\n{stack}"
    tail = _last_lines(fields.get("stderr_tail"), _TAIL_LINES)
    if tail:
        text += f"\nThe last that it wrote to stderr:\n{tail}"
    return text


def _signal_name(number: object) -> str:
    import signal

    try:
        return signal.Signals(number).name  # type: ignore[arg-type]
    except ValueError:
        return f"signal {number}"


def _crashed(fields: Mapping[str, Any]) -> Exception:
    if fields.get("cause") == "sandbox":
        return _violated(fields)
    name = _signal_name(fields.get("signal"))
    head = f"the worker crashed with {name}{_where(fields)}"
    advice = "only this call is lost, the pool goes on with a new worker"
    return errors.WorkerCrashed(_sentence(head, fields, advice), **_facts(fields))


def _violated(fields: Mapping[str, Any]) -> Exception:
    number, args = fields.get("number"), fields.get("args")
    what = "a system call that its sandbox never allows"
    name = None
    if isinstance(number, int):
        from pyproc import _core

        name = _core.call_name(number)
        shown = ", ".join(f"{value:#x}" for value in args or ())
        what = f"{name}({shown}), which its sandbox never allows"
    head = f"the worker was ended because it made {what}{_where(fields)}"
    advice = "only this call is lost; sandbox='none' would let it, for code that is trusted"
    error = errors.SandboxViolation(_sentence(head, fields, advice), **_facts(fields))
    error.syscall, error.number, error.syscall_args = name, number, args
    return error


def _lost(fields: Mapping[str, Any]) -> Exception:
    """The worker's death is its cause. It is told without the function, which it did not run."""
    text = fields.get("text")
    error = errors.ActorLost(
        f"the actor is lost with its worker{f' ({text})' if text else ''}: "
        "options(restart=) has it made again",
        **_facts(fields),
    )
    if fields.get("pid") is not None:
        death = {key: value for key, value in fields.items() if key not in ("function", "call_id")}
        make = _exited if fields.get("exit_code") is not None else _killed
        crashed = fields.get("signal") is not None and fields.get("cause") in ("signal", "sandbox")
        error.__cause__ = _crashed(death) if crashed and fields["signal"] != 9 else make(death)
    return error


def _exited(fields: Mapping[str, Any]) -> Exception:
    code = fields.get("exit_code")
    head = f"the worker left with exit code {code}{_where(fields)}"
    advice = "a function must return or raise; os._exit() ends the whole worker"
    return errors.WorkerExited(_sentence(head, fields, advice), **_facts(fields))


def _killed(fields: Mapping[str, Any]) -> Exception:
    how = f" by {_signal_name(fields['signal'])}" if fields.get("signal") else ""
    cause = f" (cause: {fields['cause']})" if fields.get("cause") else ""
    head = f"the worker was killed{how}{_where(fields)}{cause}"
    advice = ""
    if fields.get("signal") == 9 and fields.get("cause") in (None, "signal"):
        advice = "if nobody did it by hand, the kernel may have been out of memory (see dmesg)"
    elif fields.get("cause") == "oom":
        advice = (
            "the kernel has counted a kill for want of memory: very likely this one (see dmesg); "
            "Limits(memory=) stops a call before"
        )
    facts = _facts(fields)
    if fields.get("cause") == "oom":
        facts["certain"] = fields.get("how") == "cgroup"  # its own counter, not the machine's
        advice = "the kernel was out of memory at that time: Limits(memory=) ends a call before"
    return errors.WorkerKilled(_sentence(head, fields, advice), **facts)


def _limit(fields: Mapping[str, Any]) -> str:
    limit = fields.get("limit")
    return f" of {limit} s" if isinstance(limit, int | float) else ""


def _run_timeout(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    head = f"{name!r} ran longer than its time limit{_limit(fields)} and was stopped"
    advice = "see Timeouts(task=) and pool.options(timeout=)"
    return errors.TaskTimeout(_sentence(head, fields, advice), stage="run", **_facts(fields))


def _queue_timeout(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    head = f"{name!r} waited longer than its time limit{_limit(fields)} and never started"
    advice = "more workers or a longer Timeouts(queue=) help"
    return errors.TaskTimeout(_sentence(head, fields, advice), stage="queue", **_facts(fields))


def _task_killed(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    head = f"{name!r} was stopped on request"
    return errors.TaskKilled(_sentence(head, fields), **_facts(fields))


def _memory(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    peak = f", it held {_mib(fields['peak'])}" if fields.get("peak") else ""
    head = (
        f"{name!r} wanted more memory than its limit of {_mib(fields.get('limit'))}{peak} "
        f"(found by: {fields.get('how')})"
    )
    advice = "see Limits(memory=) and pool.options(memory=)"
    facts = _facts(fields) | {key: fields.get(key) for key in ("limit", "peak", "how")}
    return errors.MemoryLimitExceeded(_sentence(head, fields, advice), **facts)


def _mib(size: object) -> str:
    return f"{size / 2**20:.0f} MiB" if isinstance(size, int) else "?"


def _cpu(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    head = (
        f"{name!r} used {fields.get('used', 0):.2f} s of processor time, its limit is "
        f"{fields.get('limit', 0):g} s; it was stopped"
    )
    advice = "see Limits(cpu_time=) and pool.options(cpu_time=)"
    facts = _facts(fields) | {key: fields.get(key) for key in ("limit", "used")}
    return errors.CPUTimeExceeded(_sentence(head, fields, advice), **facts)


def _output(fields: Mapping[str, Any]) -> Exception:
    name = fields.get("function") or "the call"
    head = f"{name!r} printed {fields.get('used')} bytes, its limit is {fields.get('limit')}"
    advice = "see Limits(output=) and pool.options(output=)"
    facts = _facts(fields) | {key: fields.get(key) for key in ("limit", "used")}
    return errors.OutputLimitExceeded(_sentence(head, fields, advice), **facts)


def _many(fields: Mapping[str, Any], kind: type[errors.WorkerDied], what: str) -> Exception:
    name = fields.get("function") or "the call"
    head = (
        f"{name!r} had {fields.get('used')} {what}, its limit is {fields.get('limit')}; "
        "its worker was killed"
    )
    facts = _facts(fields) | {key: fields.get(key) for key in ("limit", "used")}
    return kind(_sentence(head, fields, f"see Limits({what}=)"), **facts)


def _processes(fields: Mapping[str, Any]) -> Exception:
    return _many(fields, errors.ProcessLimitExceeded, "processes")


def _threads(fields: Mapping[str, Any]) -> Exception:
    return _many(fields, errors.ThreadLimitExceeded, "threads")


def _protocol(fields: Mapping[str, Any]) -> Exception:
    head = f"the worker broke the protocol{_where(fields)} and was killed"
    advice = "the function, or a library in the worker, wrote to a descriptor that is not its own"
    return errors.ProtocolError(_sentence(head, fields, advice), **_facts(fields))


def _start(fields: Mapping[str, Any]) -> Exception:
    return errors.WorkerStartError(
        _sentence("the worker could not be started", fields), **_facts(fields)
    )


def _closed(fields: Mapping[str, Any]) -> Exception:
    return errors.PoolClosed(fields.get("text") or "the pool is closed")


def _queue_full(fields: Mapping[str, Any]) -> Exception:
    text = fields.get("text") or "the pool's queue is full"
    return errors.QueueFull(f"{text}: see max_queue and max_queue_bytes")


def _too_large(fields: Mapping[str, Any]) -> Exception:
    text = fields.get("text") or "a value is larger than one message may be"
    return errors.ResultTooLarge(f"{text}; see Limits(result_size=)")


def _nested(fields: Mapping[str, Any]) -> Exception:
    return errors.Error(
        fields.get("text")
        or "this call would wait for the worker that its own thread is waiting for: a call from "
        "a signal handler or __del__ cannot run inside another call of the same thread"
    )


def _interrupted(fields: Mapping[str, Any]) -> Exception:
    return errors.Error(fields.get("text") or "the call was interrupted")


def _unknown(fields: Mapping[str, Any]) -> Exception:
    return errors.Error(fields.get("text") or "the call ended for a reason that is not known here")


def _denied(fields: Mapping[str, Any]) -> Exception:
    text = fields.get("text") or "the server's policy does not allow the call"
    return errors.AccessDenied(text, fields.get("function"), _correlation(text))


def _correlation(text: str) -> str | None:
    _, found, rest = text.rpartition("(correlation id ")
    return rest.rstrip(")") if found else None


def _rate(fields: Mapping[str, Any]) -> Exception:
    text = fields.get("text") or "too many calls"
    seconds = (fields.get("limit") or 0) / 1e9
    return errors.RateLimited(text, fields.get("function") or "", seconds)


def _unproven(fields: Mapping[str, Any]) -> Exception:
    return errors.AuthenticationError(fields.get("text") or "the other end proved nothing")


def _invalid(fields: Mapping[str, Any]) -> Exception:
    return errors.RequestRefused(fields.get("text") or "the request makes no sense")


def _disconnected(fields: Mapping[str, Any]) -> Exception:
    text = fields.get("text") or "the connection to the server is gone"
    name = fields.get("function")
    return errors.Disconnected(f"{text}; {name!r} may have run" if name else text)


_MAKERS: dict[int, Callable[[Mapping[str, Any]], Exception]] = {
    errors.END_CRASHED: _crashed,
    errors.END_EXITED: _exited,
    errors.END_KILLED: _killed,
    errors.END_RUN_TIMEOUT: _run_timeout,
    errors.END_QUEUE_TIMEOUT: _queue_timeout,
    errors.END_TASK_KILLED: _task_killed,
    errors.END_PROTOCOL: _protocol,
    errors.END_START: _start,
    errors.END_CLOSED: _closed,
    errors.END_QUEUE_FULL: _queue_full,
    errors.END_TOO_LARGE: _too_large,
    errors.END_NESTED: _nested,
    errors.END_INTERRUPTED: _interrupted,
    errors.END_MEMORY: _memory,
    errors.END_CPU: _cpu,
    errors.END_OUTPUT: _output,
    errors.END_PROCESSES: _processes,
    errors.END_THREADS: _threads,
    errors.END_LOST: _lost,
    errors.END_DENIED: _denied,
    errors.END_RATE: _rate,
    errors.END_UNPROVEN: _unproven,
    errors.END_INVALID: _invalid,
    errors.END_DISCONNECTED: _disconnected,
}
