"""What the workers of an Executor run: tasks that the host has pickled.

A task is [data, module, file, exact] or, when the function goes apart from its arguments, one part
more. The host's bytes are trusted as its code is; what goes back is either plain data ("safe") or
bytes that only an executor opened with results="pickle" reads.
"""

from __future__ import annotations

import sys

from pyproc import errors
from pyproc.worker import load, registry
from pyproc.worker.failure import Refusal, type_name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: First of a list that stands for a raised exception: [RAISED, pickled, type, message, text].
VALUE, RAISED = 0, 1
#: The path of the error for a task that cannot be made here; no value of a user is called so.
TASK = "<task>"
_TEXT_MAX = 64 * 1024


class Runner:
    """The one function of such workers. Made by the host and pickled; a worker's main thread."""

    def __init__(self, pickles: bool, initializer: list[Any], authkey: bytes) -> None:
        self.pickles = pickles
        self.initializer = initializer
        self.authkey = authkey

    def pyproc_install(self, app: registry.App, name: str) -> None:
        """Called by the loader in place of exposing the object itself."""
        app.expose(self.run_pickling if self.pickles else self.run, name=name)
        if self.initializer or self.authkey:
            app.on_start(self.start)

    def start(self) -> None:
        """Once in each worker, before its first task."""
        if self.authkey:  # proxies of the host's multiprocessing managers can be used
            from multiprocessing import process

            process.current_process().authkey = self.authkey
        if self.initializer:
            function, arguments, _ = _read(self.initializer)
            function(*arguments)

    def run(self, task: object) -> object:
        """Answers as data."""
        registry.exact = task[3]  # type: ignore[index]
        function, args, kwargs = _read(task)
        return function(*args, **kwargs)

    def run_pickling(self, task: object) -> object:
        """Answers with a pickle; what is raised, too."""
        import pickle

        function, args, kwargs = _read(task)
        try:
            result = function(*args, **kwargs)
            if type(result).__name__ == "coroutine":
                from pyproc.worker.tasks import run_coroutine

                result = run_coroutine(result)
            function = args = kwargs = None
            try:
                return dumps(result)
            except Exception as error:
                kind = type_name_of(type(result))
                error.add_note(f"the result, a {kind}, cannot be pickled")
                raise
        except BaseException as raised:
            from pyproc.worker import context, refusals

            if isinstance(raised, errors.Error) and context.current().cancelled():
                raise  # a time limit, or a request to stop: the host knows
            refusals.explain(raised)
            text = _traceback(raised)
            try:
                data = pickle.dumps(raised.with_traceback(None), 5)
            except Exception:
                raise raised from None
            return [RAISED, data, type_name_of(type(raised)), _safe(raised), text]


def dumps(value: Any) -> bytes:
    """Pickled; by value, with cloudpickle, what cannot be found by its name."""
    import pickle

    try:
        return pickle.dumps(value, 5)
    except (pickle.PicklingError, AttributeError, TypeError):
        try:
            import cloudpickle  # type: ignore[import-untyped]
        except ImportError:
            cloudpickle = None
        if cloudpickle is None:
            raise
        try:
            return bytes(cloudpickle.dumps(value, 5))
        except Exception:  # (the first error says more)
            pass
        raise


def _read(task: Any) -> Any:
    """The function, its arguments and keywords. CodecError at TASK: they cannot be made here."""
    data, module, file, _, *apart = task
    try:
        if module and module not in sys.modules:
            load.import_module(module, file)
        values = load.unpickle("the task", data)
        if apart:
            return load.unpickle("the function", apart[0]), *values
        return values
    except errors.Error:
        raise
    except BaseException as raised:
        why = raised.text if isinstance(raised, Refusal) else f"{type(raised).__name__}: {raised}"
        refusal = Refusal(
            errors.KIND_CODEC,
            "pyproc.CodecError",
            f"the task could not be unpickled in the worker: {why}"[:_TEXT_MAX],
            TASK,
        )
        raise refusal from raised


def _traceback(raised: BaseException) -> str:
    import traceback

    own = raised.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    try:
        lines = traceback.format_exception(type(raised), raised, own)
    except Exception:
        return _safe(raised)
    return "".join(lines)[-_TEXT_MAX:]


def _safe(raised: BaseException) -> str:
    try:
        return str(raised)[:_TEXT_MAX]
    except Exception:
        return "<exception str() failed>"
