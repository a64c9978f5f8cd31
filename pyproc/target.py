"""What a pool runs: from what the user names to what the core's Hello carries.

The worker imports what the host would import: sys.path travels in order, and the file where the
host finds the module goes along for modules that no path entry leads to.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, get_type_hints

from pyproc.worker.executing import Runner
from pyproc.worker.hosting import Part
from pyproc.worker.registry import App

ATTRIBUTE, FILE, MODULE, FUNCTIONS = 1, 2, 3, 4

#: The one function of an Executor's workers.
RUN = "run"

Target = (
    str
    | os.PathLike[str]
    | ModuleType
    | App
    | Runner
    | Sequence[Callable[..., Any]]
    | Callable[..., Any]
)
Source = tuple[str, str, str, str, bytes]


def import_path() -> list[str]:
    """The host's sys.path with '' as the directory it stands for now."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    path = [here if entry == "" else entry for entry in sys.path if isinstance(entry, str)]
    return [os.path.abspath(entry) for entry in path if entry]


def describe(target: Target) -> dict[str, Any]:
    """The core's keys for `target`. Raises TypeError or ValueError that says what would do."""
    if isinstance(target, Runner):
        source = (RUN, "", "", "", pickle.dumps(target))
        return {"target_kind": FUNCTIONS, "target": "", "functions": [source]}
    if isinstance(target, App):
        return _of_app(target)
    if isinstance(target, ModuleType):
        return _of_module(target)
    if isinstance(target, os.PathLike):
        return _of_file(os.fspath(target))
    if isinstance(target, str):
        return _of_text(target)
    if callable(target):
        return _of_functions([target])
    if isinstance(target, Sequence) and target and all(map(callable, target)):
        return _of_functions([item for item in target if not isinstance(item, str)])
    raise TypeError(
        "target: 'module:attribute', a path to a .py file, a module, an App or a non-empty list "
        f"of functions is needed, not {type(target).__name__}"
    )


def _of_text(target: str) -> dict[str, Any]:
    if target.endswith(".py") or "/" in target:
        return _of_file(target)
    module, colon, attribute = target.partition(":")
    parts = [*module.split("."), *(attribute.split(".") if colon else [])]
    if not all(part.isidentifier() for part in parts):
        raise ValueError(
            f"target={target!r}: 'module:attribute', 'module' or a path ending in .py is needed"
        )
    return {
        "target_kind": ATTRIBUTE if colon else MODULE,
        "target": target,
        "file": file_of(module),
    }


def _of_file(path: str) -> dict[str, Any]:
    full = os.path.abspath(path)
    if not os.path.isfile(full):
        raise FileNotFoundError(f"target={path!r}: there is no such file")
    return {"target_kind": FILE, "target": full, "file": full}


def file_of(module: str) -> str:
    """Where the host has, or would find, the module; '' when it cannot tell without importing."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        return _source_of(loaded)
    if "." in module:
        return ""  # looking it up would import its package here
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    return spec.origin if spec is not None and spec.has_location and spec.origin else ""


def _source_of(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) and file.endswith(".py") else ""


def _of_module(module: ModuleType) -> dict[str, Any]:
    if module.__name__ == "__main__":
        raise ValueError("target: the main module is never run again; name its functions in a list")
    return {"target_kind": MODULE, "target": module.__name__, "file": _source_of(module)}


def _of_app(app: App) -> dict[str, Any]:
    module = sys.modules.get(app.module)
    if module is not None and app.module != "__main__":
        for name, value in vars(module).items():
            if value is app:
                return {
                    "target_kind": ATTRIBUTE,
                    "target": f"{app.module}:{name}",
                    "file": _source_of(module),
                }
    if app.start_hooks:
        raise ValueError(
            "target: an App with on_start hooks must be importable (not in the main script or a "
            "notebook): put it in a module"
        )
    if not app.functions:
        raise ValueError("target: the App exposes no function")
    if any(isinstance(function, Part) for function in app.functions.values()):
        raise ValueError(
            "target: an App that exposes a class must be importable (not in the main script or a "
            "notebook): put it in a module"
        )
    sources = [(name, *_source(function)[1:]) for name, function in app.functions.items()]
    return {"target_kind": FUNCTIONS, "target": "", "functions": sources}


def _of_functions(functions: list[Callable[..., Any]]) -> dict[str, Any]:
    sources = [_source(function) for function in functions]
    names = [source[0] for source in sources]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"target: two functions are called {min(doubled)!r}")
    return {"target_kind": FUNCTIONS, "target": "", "functions": sources}


def _source(function: Callable[..., Any]) -> Source:
    name = getattr(function, "__name__", "")
    qualname = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", None) or ""
    if not name:
        raise TypeError(f"target: {function!r} has no __name__ to be called by")
    if module != "__main__" and _found_at(module, qualname) is function:
        return (name, module, qualname, file_of(module), b"")
    return (name, "", "", "", _pickle(function, f"function {qualname!r}"))


def _found_at(module: str, qualname: str) -> object:
    found: object = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _pickle(value: object, what: str) -> bytes:
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(
            f"target: {what} cannot be imported by a worker (it lives in the main script, a "
            "notebook or another function); put it in a module, or `pip install cloudpickle`"
        ) from None
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise ValueError(f"target: {what} cannot be pickled: {error}") from error


def result_hint(function: Any) -> object:
    """The result annotation of a function that the host holds; None when there is none to use."""
    try:
        hint = get_type_hints(function).get("return")
    except Exception:
        return None  # it names something that is not there: the plain value is the answer
    return None if hint is None or hint is type(None) else hint
