"""The errors of an Executor that the standard library's process executor has, too.

Each is pyproc's own error, with all its facts, and what `concurrent.futures` raises in the same
case, so that programs written for either catch it. One thing differs: after the end of a worker
the executor goes on, and only the call that the worker had is lost.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from pyproc import errors


class WorkerDied(errors.WorkerDied, BrokenProcessPool):
    """As pyproc.WorkerDied."""


class WorkerCrashed(errors.WorkerCrashed, BrokenProcessPool):
    """As pyproc.WorkerCrashed."""


class WorkerExited(errors.WorkerExited, BrokenProcessPool):
    """As pyproc.WorkerExited."""


class WorkerKilled(errors.WorkerKilled, BrokenProcessPool):
    """As pyproc.WorkerKilled."""


class SandboxViolation(errors.SandboxViolation, BrokenProcessPool):
    """As pyproc.SandboxViolation."""


class WorkerStartError(errors.WorkerStartError, BrokenProcessPool):
    """As pyproc.WorkerStartError. When it was the initializer that failed, the executor takes no
    more work."""


class Terminated(errors.PoolClosed, BrokenProcessPool):
    """The call was under way, or waited, when the executor's workers were terminated."""


class Unreadable(errors.CodecError, BrokenProcessPool):
    """A task or a result could not be unpickled at the other end; its cause says why."""


class ShutDown(errors.PoolClosed, RuntimeError):
    """The executor was shut down: it takes no new calls."""


_KINDS: dict[type[BaseException], type[BaseException]] = {
    errors.WorkerDied: WorkerDied,
    errors.WorkerCrashed: WorkerCrashed,
    errors.WorkerExited: WorkerExited,
    errors.WorkerKilled: WorkerKilled,
    errors.SandboxViolation: SandboxViolation,
    errors.WorkerStartError: WorkerStartError,
    errors.PoolClosed: Terminated,
}


def of(error: BaseException) -> BaseException:
    """The same error, of the class that both worlds know. It is the caller's alone."""
    kind = _KINDS.get(type(error))
    if kind is not None:
        error.__class__ = kind
    return error


def copied(error: BaseException) -> BaseException:
    """One for each future: they may be raised, and changed, apart from one another."""
    try:
        copied = error.__class__(*error.args)
    except Exception:
        return error
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
