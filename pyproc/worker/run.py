"""A worker's life: hello, import, serve, leave.

What is imported here costs every start of every worker, so nothing is that can wait. The loop
itself and the common call are C (`csrc/worker`, `csrc/binding/worker_run.c`); `Handlers` is
where C asks when a call is not common.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself imports enum
import os
import sys

from pyproc import _worker, errors
from pyproc.worker import (
    checks,
    context,
    crash,
    failure,
    leave,
    load,
    logs,
    refusals,
    registry,
    template,
)
from pyproc.worker.failure import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

    from pyproc.worker.attached import Files
    from pyproc.worker.large import Results
    from pyproc.worker.shared import Side

_EXIT_START, _EXIT_PROTOCOL, _EXIT_USAGE = 1, 70, 2
_SHOWN_MAX = 12
_NAME_SHOWN = 200
_FAILURE_MAX = 1024 * 1024
#: A larger result need not even be tried without memory.
_INLINE_MAX = 16 * 1024 * 1024


class Handlers:
    """The slow paths of a call. Exceptions become the call's failure."""

    def __init__(self, names: list[str], worker: _worker.Worker) -> None:
        self.names = names
        self._worker = worker
        self._results: Results | None = None  # memory for large ones
        self._context: list[Any] = []  # what the running call's variables were before
        self._files: Files | None = None  # that came with the running call
        self._word = "result"
        self._side: Side | None = None  # calls that run side by side

    def unknown(self, name: str) -> NoReturn:
        """No function has that name."""
        import difflib

        shown = ", ".join(self.names[:_SHOWN_MAX])
        more = ", ..." if len(self.names) > _SHOWN_MAX else ""
        near = difflib.get_close_matches(name[:_NAME_SHOWN], self.names, 1)
        hint = f"did you mean {near[0]!r}? there" if near else "there"
        text = f"no function {name[:_NAME_SHOWN]!r} is exposed; {hint} are: {shown}{more}"
        raise Refusal(errors.KIND_UNKNOWN, "pyproc.UnknownFunction", text)

    def decode(self, payload: bytes, codec: int) -> tuple[object, ...]:
        """The values of a payload that C could not read."""
        from pyproc import codec as codecs

        try:
            if codec == codecs.PICKLE:
                values = load.unpickle("the arguments", payload)
            else:
                hook = {} if self._files is None else {"hook": self._files.restore}
                values = codecs.decode_trusted(payload, codec, **hook)
        except errors.CodecError as error:
            raise _codec_refusal(error) from None
        if not isinstance(values, list | tuple):
            raise _codec_refusal(errors.CodecError("the arguments are no array", "arguments"))
        return tuple(values)

    def encode(self, plan: checks.Plan, value: object) -> tuple[bytes, int]:
        """The payload of a result that is not plain."""
        if type(value).__name__ in ("coroutine", "generator", "async_generator"):
            value = plan.result(value)
        try:
            return self._encode(value)
        except errors.CodecError as error:
            raise _codec_refusal(error) from None

    def _encode(self, value: object) -> tuple[bytes, int]:
        from pyproc import codec as codecs
        from pyproc.worker import large

        if self._results is None:
            self._results = large.Results(self._worker)
        # A stream's items are small, or wait in the socket for their reader.
        gathered = self._results.gather() if self._word == "result" else None
        try:
            return codecs.encode_value(value, self._word, gathered, registry.exact)
        except large.Inline as refused:
            if refused.size > _INLINE_MAX or refused.size > self._results.most:
                self.too_large(refused.size, self._results.most, refused.why())
            return codecs.encode_value(value, self._word, None, registry.exact)

    def too_large(self, size: int, limit: int, why: str = "") -> NoReturn:
        """A result is over the limit."""
        raise Refusal(
            errors.KIND_TOO_LARGE,
            "pyproc.ResultTooLarge",
            f"the {self._word} takes {size} bytes, at most {limit} may be sent: see "
            f"Limits(result_size=){why}",
            self._word,
        )

    def stream(self, plan: checks.Plan, made: object) -> bool:
        """Sends the items of what a stream's function has returned."""
        from pyproc.worker import streams

        self._word = "item"
        try:
            streams.run(self._worker, plan, made)
        finally:
            self._word = "result"
        return True

    def bad_chunk(self, found: int, said: int) -> NoReturn:
        """A chunk's payload is not what its call says."""
        text = f"the chunk has {found} items, its call says {said}"
        raise _codec_refusal(errors.CodecError(text, "items"))

    def enter_context(self, baggage: bytes) -> None:
        """Sets the caller's context variables."""
        self._context = self._entered(baggage)

    def _entered(self, baggage: bytes) -> list[Any]:
        from pyproc import codec as codecs
        from pyproc.worker import baggage as carried

        try:
            values = codecs.decode_trusted(baggage, codecs.RICH)
        except errors.CodecError as error:
            raise _codec_refusal(error) from None
        return carried.enter(values)

    def leave_context(self) -> None:
        """Sets them back."""
        from pyproc.worker import baggage as carried

        tokens, self._context = self._context, []
        carried.leave(tokens)

    def enter_files(self, fds: tuple[int, ...]) -> None:
        """Takes the descriptors that came with the call."""
        from pyproc.worker.attached import Files

        self._files = Files(fds)

    def leave_files(self) -> None:
        """Closes what is left of them."""
        files, self._files = self._files, None
        if files is not None:
            files.close()

    def share(self, first: tuple[Any, ...]) -> None:
        """Runs calls side by side until none is left; the first one is here."""
        if self._side is None:
            from pyproc.worker.shared import Side

            self._side = Side(self._worker, self._entered)
        self._side.serve(first)

    def stopped(self) -> NoReturn:
        """A chunk was asked to stop between two items."""
        raise errors.TaskKilled("the caller wants the call to stop")

    def failure(self, raised: BaseException) -> failure.Described:
        """A failed call."""
        refusals.explain(raised)
        return failure.describe(raised)

    def item(self, raised: BaseException) -> bytes:
        """A failed item of a chunk."""
        refusals.explain(raised)
        return failure.pack_item(raised)


def _codec_refusal(error: errors.CodecError) -> Refusal:
    return Refusal(errors.KIND_CODEC, "pyproc.CodecError", str(error), error.path)


def main() -> NoReturn:
    """Runs the worker to its end. Does not return."""
    code = _EXIT_USAGE
    role, *preload = sys.argv[1:] or [""]
    try:
        worker = _worker.Worker()
    except OSError as error:
        _say(f"this program is started by a pool, which gives it descriptors 3 to 7 ({error})")
    else:
        crash.guard_threads()
        _arm(worker)
        code = _live(worker, role == "template", preload)
    leave.leave(code)
    raise AssertionError("leave() has returned")


def _arm(worker: _worker.Worker) -> None:
    """Ready for signals of the host; again after a fork, which brings other files and pages."""
    crash.arm(worker)
    context.arm(worker)


def _live(worker: _worker.Worker, is_template: bool, preload: list[str]) -> int:
    """The exit code."""
    try:
        _settle()
        if is_template:
            template.before_import()
        application = _import(worker, preload)
        if application is None:
            return _EXIT_START
        if is_template:
            worker.ready(application.signatures, *_interpreter_bytes())
            template.after_import()
            if not worker.template():
                return 0
            _arm(worker)
            template.after_fork()
            worker.hello()
        if not _start(worker, application):
            return _EXIT_START
        try:
            worker.serve(application.entries, Handlers(sorted(application.entries), worker))
        finally:
            _run_stop_hooks(application.app)
        return 0
    except SystemExit as request:  # from a user's signal handler while no call ran
        return request.code if isinstance(request.code, int) else int(request.code is not None)
    except ConnectionError:
        return 0  # the host is gone; there is nobody to tell
    except OSError as error:
        _say(str(error.strerror))
        return _EXIT_PROTOCOL


def _run_stop_hooks(app: registry.App) -> None:
    """The host gives them a second."""
    for hook in reversed(app.stop_hooks):
        try:
            run_hooks([hook])
        except BaseException as raised:  # the other hooks run all the same
            _say(f"an on_stop hook failed: {type(raised).__name__}")
            print(failure.format_traceback(raised), end="", file=sys.stderr)
            print(f"{type(raised).__name__}: {raised}", file=sys.stderr)


def _say(text: str) -> None:
    print(f"pyproc worker: {text}", file=sys.stderr)


def _settle() -> None:
    """Makes the process look like one in which only the application runs."""
    # ^C reaches the whole group; the host decides. A handler, since children must not inherit it.
    _signal.signal(_signal.SIGINT, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):
        _set_up_stream(stream)
    sys.argv[:] = [""]
    sys.modules["__main__"] = type(sys)("__main__")
    sys.modules["__main__"].__dict__["__builtins__"] = sys.modules["builtins"]
    registry.serving = True


def _set_up_stream(stream: TextIO | None) -> None:
    """The host reads lines of utf-8, as soon as they are there."""
    if stream is not None:
        stream.reconfigure(  # type: ignore[attr-defined]
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )


class _Application:
    """What was imported: the same in a template and in all that it forks."""

    def __init__(self, app: registry.App) -> None:
        plans = checks.plans_of(app)
        self.app = app
        self.plans = list(plans.values())
        self.entries = {name: plan.entry() for name, plan in plans.items()}
        if "PYPROC_FAULTS" in os.environ:  # only tests set it
            from pyproc.testing.inject import around

            for name, (function, *rest) in self.entries.items():
                self.entries[name] = (around(name, function), *rest)
        self.signatures = [checks.published(name, plan) for name, plan in plans.items()]


def _import(worker: _worker.Worker, preload: list[str]) -> _Application | None:
    """The application, imported and warm; None when that failed, which the host then knows."""
    version, max_frame, _, kind, target, file, sources, path, *expected = worker.hello()
    failure.total_max = min(_FAILURE_MAX, max_frame // 2)
    try:
        _check_interpreter(version, *expected)
        if path:
            sys.path[:] = _import_path(path)
        if "PYPROC_COVERAGE" in os.environ:  # set by the pytest plugin
            from pyproc.testing import cover

            cover.start_in_worker(os.environ["PYPROC_COVERAGE"])
        load.preload(preload)
        app = load.load(kind, target, file, sources)
        logs.watch(worker)
        run_hooks(app.warmup_hooks)
        application = _Application(app)
        if worker.closes():
            refusals.prepare(application.plans)
        return application
    except BaseException as raised:  # whatever an application does while it is imported
        worker.fail(failure.describe(_explain(raised), errors.KIND_START))
        return None


def _start(worker: _worker.Worker, application: _Application) -> bool:
    """Runs the start hooks and tells the host; False when they failed, which it then knows."""
    try:
        run_hooks(application.app.start_hooks)
    except BaseException as raised:  # as above
        worker.fail(failure.describe(_explain(raised), errors.KIND_START))
        return False
    try:
        if worker.confine():
            refusals.watch(worker)
    except OSError as raised:
        worker.fail(failure.describe(load.refuse(str(raised.strerror)), errors.KIND_START))
        return False
    worker.ready(application.signatures, *_interpreter_bytes())
    return True


def _import_path(path: list[str]) -> list[str]:
    """An empty entry stands for the interpreter's own ones."""
    entries = []
    for entry in path:
        entries += [entry] if entry else [own for own in sys.path if own not in path]
    return entries


def run_hooks(hooks: Any) -> None:
    """One after the other; what they raise passes."""
    for hook in hooks:
        returned = hook()
        if type(returned).__name__ == "coroutine":
            from pyproc.worker.tasks import run_coroutine

            run_coroutine(returned)


def _explain(raised: BaseException) -> BaseException:
    """An application that leaves while it is imported raises SystemExit, which says too little."""
    if not isinstance(raised, SystemExit):
        return raised
    refusal = load.refuse(
        f"the application called sys.exit({raised.code!r}) while it was imported or started: "
        f'put what runs a script below `if __name__ == "__main__":`'
    )
    refusal.__cause__ = raised
    return refusal


def _interpreter() -> tuple[str, str, str]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return version, sys.prefix, sys.base_prefix


def _interpreter_bytes() -> list[bytes]:
    return [text.encode() for text in _interpreter()]


def _check_interpreter(protocol: int, prefix: str, base_prefix: str, version: str) -> None:
    """CPython that cannot read its own library may silently fall back to another one."""
    if protocol != _worker.PROTOCOL_VERSION:
        raise load.refuse(
            f"the host speaks protocol {protocol}, this worker {_worker.PROTOCOL_VERSION}: "
            f"they are from different versions of pyproc"
        )
    own = _interpreter()
    for what, wanted, found in zip(
        ("version", "prefix", "base prefix"), (version, prefix, base_prefix), own, strict=True
    ):
        if wanted and wanted != found and not found.startswith(f"{wanted}."):
            raise load.refuse(
                f"the interpreter fell back: its {what} is {found!r}, the host asked for "
                f"{wanted!r}. Can the worker's user read all of that environment?"
            )
