"""What a sandbox refused, in words: which layer, which path, and what would grant it.

All of it is the worker's own claim; the refusal itself was the kernel's.
"""

from __future__ import annotations

import sys
from time import monotonic as _clock

from pyproc.worker import context
from pyproc.worker.failure import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyproc import _worker
    from pyproc.worker.checks import Plan

_EPERM, _EACCES = 1, 13
_ASYNC = (1, 3)
_watching = False
_worker_of_ours: _worker.Worker | None = None
#: Events that may be sent at once, and a second; the host allows twice as many and more.
_SENT_BURST, _SENT_RATE = 32, 1.0
_TEXT_MAX = 512
_left, _left_at = float(_SENT_BURST), 0.0


#: What the worker's own slow paths import when they are first needed.
_OURS = (
    "typing", "inspect", "difflib", "io", "pickle", "linecache", "traceback", "datetime",
    "decimal", "uuid", "msgspec", "pyproc.codec", "pyproc.worker.baggage",
    "pyproc.worker.attached", "pyproc.worker.large", "pyproc.worker.streams", "struct",
)  # fmt: skip


def prepare(plans: Iterable[Plan]) -> None:
    """Imports and resolves ahead what could not be had after watch()."""
    for name in _OURS:
        try:
            __import__(name)
        except ImportError:  # msgspec may be missing: who needs it is told so then
            continue
    for plan in plans:
        try:
            plan.hints()
        except Refusal:  # it is told to the first call that meets it
            continue
        if plan.kind in _ASYNC:
            import pyproc.worker.tasks  # noqa: F401
    import time

    time.localtime()  # reads the time zone's file


def watch(worker: _worker.Worker) -> None:
    """From now on there is a sandbox. Once, before the first call."""
    global _watching, _worker_of_ours
    _watching = True
    _worker_of_ours = worker
    external = sys.modules.get("_frozen_importlib_external")
    loader = getattr(external, "ExtensionFileLoader", None)
    if loader is None:
        return
    create = loader.create_module

    def create_module(self: Any, spec: Any) -> Any:
        try:
            return create(self, spec)
        except ImportError as error:
            if "failed to map segment" not in str(error) and "cannot enable exec" not in str(error):
                raise
            root = spec.name.partition(".")[0]
            raise ImportError(
                f"module {spec.name!r} is compiled code, and this sandbox lets no code in once the "
                f"application is imported: Pool(preload=[{root!r}]) or an import at the top of the "
                f"application loads it before; Sandbox('strict', late_native_imports=True) allows "
                f"it ({error})",
                name=spec.name,
                path=spec.origin,
            ) from None

    loader.create_module = create_module


def explain(raised: BaseException) -> None:
    """Adds a note to an error that is likely the sandbox's, and tells the host."""
    # By its type: what an exception says of itself is code of the application.
    if not _watching or not issubclass(type(raised), PermissionError):
        return
    path = OSError.__dict__["filename"].__get__(raised)
    number = OSError.__dict__["errno"].__get__(raised)
    if number == _EACCES and isinstance(path, str):
        what = f"{path!r} is not granted"
        note = (
            f"the sandbox (Landlock, or the worker's own user) did not grant {path!r}: "
            f"Sandbox(read=[...]), write=[...] or exec=[...] with it, or a directory above, does"
        )
    elif number == _EACCES:
        what = "no sockets are made"
        note = "the sandbox (seccomp) lets no sockets be made: Sandbox(network=True) does"
    elif number == _EPERM:
        what = "the system call is not allowed"
        note = (
            "the sandbox (seccomp, or Landlock for signals) refused the system call: a weaker "
            "profile or Sandbox(syscalls=[...]) allows it"
        )
    else:
        return
    BaseException.add_note(raised, note)
    _send(what)


def _send(what: str) -> None:
    """An event of the host's; when they come too fast, none."""
    global _left, _left_at
    now = _clock()
    _left = min(_left + (now - _left_at) * _SENT_RATE, float(_SENT_BURST))
    _left_at = now
    if _left < 1 or _worker_of_ours is None:
        return
    _left -= 1
    text = what.replace("\0", "\\0").encode("utf-8", "backslashreplace")[:_TEXT_MAX]
    _worker_of_ours.refused(context.call_number(), text.decode("utf-8", "ignore").encode())
