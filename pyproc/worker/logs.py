"""Log records on their way to the host.

`logging` is not imported for it: when the application has done so, or the moment it does, each
record that passes its logger's level is also sent on the event channel, whatever handlers there
are. A record never waits: a full channel drops it. Without any handler the host alone shows it.
"""

from __future__ import annotations

import sys

from pyproc.worker import context
from pyproc.worker.failure import _encode, as_text, format_traceback, type_name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from logging import Logger, LogRecord
    from typing import Any

    from pyproc._worker import Worker

TEXT_MAX = 32 * 1024
NAME_MAX = 256
_INT32_MAX = 2**31 - 1

_busy: set[int] = set()  # threads that are just sending: a value's own code may log


def watch(worker: Worker) -> None:
    """Forwards records from now on, or from the moment that logging is imported."""
    if "logging" in sys.modules:
        _install(worker, sys.modules["logging"])
    else:
        sys.meta_path.insert(0, _Watcher(worker))


class _Watcher:
    """Stands first among the finders until somebody imports logging."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """For the import system: finds nothing itself, but hooks into logging's loader."""
        if name != "logging" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, None, None)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(self.worker, spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """logging's own loader, and after it our installation."""

    def __init__(self, worker: Worker, loader: Any) -> None:
        self.worker = worker
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        """For the import system."""
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """For the import system."""
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _install(self.worker, module)


def _install(worker: Worker, logging: Any) -> None:
    original = logging.Logger.callHandlers
    standard = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
    standard |= {"message", "asctime", "taskName"}

    def call_handlers(logger: Logger, record: LogRecord) -> None:
        _forward(worker, record, standard)
        if logger.hasHandlers():
            original(logger, record)

    logging.Logger.callHandlers = call_handlers


def _forward(worker: Worker, record: LogRecord, standard: frozenset[str]) -> None:
    import _thread

    thread = _thread.get_ident()
    if thread in _busy:
        return
    _busy.add(thread)
    try:
        _send(worker, record, standard)
    except Exception:  # (a record that breaks must not break its function)
        pass
    finally:
        _busy.discard(thread)


def _send(worker: Worker, record: LogRecord, standard: frozenset[str]) -> None:
    extra = {
        name: value
        for name, value in vars(record).items()
        if name not in standard and isinstance(name, str)
    }
    worker.log(
        max(-_INT32_MAX, min(int(record.levelno), _INT32_MAX)),
        float(record.created),
        as_text(str(record.name), NAME_MAX),
        as_text(record.getMessage(), TEXT_MAX),
        _exception_of(record),
        _encode(extra) if extra else b"",
        context.call_number(),
    )


def _exception_of(record: LogRecord) -> bytes:
    raised = record.exc_info[1] if record.exc_info else None
    if raised is None:
        return b""
    line = f"{type_name_of(type(raised))}: {raised}"
    return as_text(format_traceback(raised) + line, TEXT_MAX)
