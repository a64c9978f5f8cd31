"""The application: found as the host would find it, imported once, its functions collected.

Modules come from `sys.path` as always. Where the host says which file its own import found and
ours would find none or another, that file is loaded under the same name (test files under
pytest's importlib mode, notebooks' neighbours). What is wrong is a Refusal that says what to do.
"""

from __future__ import annotations

import os
import sys

from pyproc import errors
from pyproc.worker import registry
from pyproc.worker.failure import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Source = tuple[str, str, str, str, bytes]

ATTRIBUTE, FILE, MODULE, FUNCTIONS = 1, 2, 3, 4
_SHOWN_MAX = 12


def refuse(text: str) -> Refusal:
    """For what the application's author can mend."""
    return Refusal(errors.KIND_START, "pyproc.WorkerStartError", text)


def load(kind: int, target: str, file: str, sources: Sequence[Source]) -> registry.App:
    """The App: its functions and hooks. Raises Refusal, or what the import raised."""
    app = _of_sources(sources) if kind == FUNCTIONS else _of_target(kind, target, file)
    if not app.functions:
        raise refuse(f"{target or 'the application'!r} exposes no function: use @app.expose")
    return app


def preload(names: Sequence[str]) -> None:
    """Imports modules before the application. Raises what the import raised."""
    for name in names:
        import_module(name, "")


def _of_target(kind: int, target: str, file: str) -> registry.App:
    if kind == ATTRIBUTE:
        name, _, attribute = target.partition(":")
        found = _attribute(import_module(name, file), attribute)
        return found if isinstance(found, registry.App) else _of_value(found, target)
    module = import_file(target) if kind == FILE else import_module(target, file)
    return only_app(module, target)


# ---- what is in a module ----


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = getattr(module, "__file__", None) or module.__name__
            raise refuse(f"there is no {path!r} in module {module.__name__!r} ({where})") from None
    return found


def _of_value(found: Any, target: str) -> registry.App:
    """A function, or a list or tuple of functions."""
    several = found if isinstance(found, list | tuple) else [found]
    app = registry.App()
    for function in several:
        if not callable(function):
            raise refuse(
                f"{target!r} is a {type(found).__name__}; it must be a pyproc.App, a function, "
                f"or a list of functions"
            )
        try:
            app.expose(function)
        except ValueError as error:
            raise refuse(f"{target!r}: {error}") from None
    return app


def only_app(module: ModuleType, target: str) -> registry.App:
    """The App of a module, or what it exposed without one. Refusal: none, or several."""
    # By type: a proxy (a web framework's "current request") may raise when isinstance asks it.
    values = list(vars(module).values())
    found: dict[int, registry.App] = {
        id(value): value for value in values if issubclass(type(value), registry.App)
    }
    apps = [app for app in found.values() if app is not registry.default]
    own = [app for app in apps if app.module == module.__name__] or apps
    loose = [
        name
        for name, function in registry.default.functions.items()
        if getattr(function, "__module__", None) == module.__name__
    ]
    if len(own) > 1:
        names = sorted(n for n, v in vars(module).items() if any(v is app for app in own))
        raise refuse(
            f"{target!r} has {len(own)} Apps ({', '.join(names[:_SHOWN_MAX])}): "
            f'say which one, as in "{module.__name__}:{names[0]}"'
        )
    if own and loose:
        raise refuse(
            f"{target!r} has an App, but {loose[0]!r} is exposed with pyproc.expose: use one of "
            f"the two for all functions"
        )
    if own:
        return own[0]
    if registry.default.functions:
        return registry.default
    raise refuse(
        f"there is no App in {target!r}, and nothing was exposed with pyproc.expose: write "
        f"app = pyproc.App() and put @app.expose before the functions"
    )


def _of_sources(sources: Sequence[Source]) -> registry.App:
    app = registry.App()
    for name, module, qualname, file, pickled in sources:
        if name in app.functions:
            raise refuse(f"two functions of the list are called {name!r}")
        found = unpickle(name, pickled) if pickled else None
        if found is None:
            found = _attribute(import_module(module, file), qualname)
        install = getattr(type(found), "pyproc_install", None)  # an Executor's worker side
        if install is not None:
            install(found, app, name)
            continue
        if not callable(found):
            raise refuse(f"{module}.{qualname} is not a function here")
        app.expose(found, name=name)
    return app


def unpickle(name: str, pickled: bytes) -> Any:
    """What the host has pickled: its bytes are trusted as its code is."""
    import pickle

    try:
        return pickle.loads(pickled)  # nosec B301: made by the host, as its code is
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "cloudpickle":
            raise
        raise refuse(
            f"{name!r} was sent by value, which needs cloudpickle in the worker's interpreter: "
            f"{sys.executable} -m pip install cloudpickle"
        ) from None


# ---- imports ----


def import_module(name: str, file: str) -> ModuleType:
    """The module of that name; from `file` when the import would find none or another."""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise refuse(f"{name!r} is not the name of a module")
    if file and not _is_same_file(_origin(name), file):
        return _load_file(name, file)
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            shown = [entry or os.getcwd() for entry in sys.path[:_SHOWN_MAX]]
            error.add_note(f"the worker looked for it in: {', '.join(shown)}")
        raise
    return sys.modules[name]


def import_file(path: str) -> ModuleType:
    """The module in a .py file, with its directory first on sys.path, as `python file` does."""
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise refuse(f"there is no file {path!r}")
    directory, base = os.path.split(path)
    name = base.partition(".")[0]
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    if name.isidentifier() and _is_same_file(_origin(name), path):
        __import__(name)
        return sys.modules[name]
    return _load_file(name.replace("-", "_").replace(" ", "_"), path)


def _origin(name: str) -> str | None:
    """The file that an import of `name` would take. Imports the packages around it."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None)
    path = None
    parent = name.rpartition(".")[0]
    if parent:
        try:
            __import__(parent)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{parent}.".startswith(f"{error.name}."):
                raise
            return None
        path = getattr(sys.modules[parent], "__path__", None)
        if path is None:
            return None
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path, None) if find is not None else None
        if spec is not None:
            return spec.origin if spec.has_location else None
    return None


def _is_same_file(found: str | None, wanted: str) -> bool:
    if found is None:
        return False
    try:
        return found == wanted or os.path.samefile(found, wanted)
    except OSError:
        return False


def _load_file(name: str, file: str) -> ModuleType:
    """Loads `file` as the module `name`; under another name when that one is in use."""
    if name in sys.modules:
        name = "pyproc_app_" + name.replace(".", "_")
    finder = _FileFinder(name, file)
    sys.meta_path.insert(0, finder)
    try:
        __import__(name)
    finally:
        sys.meta_path.remove(finder)
    return sys.modules[name]


class _FileFinder:
    """Answers for one module, and for the packages around it that nothing else finds."""

    def __init__(self, name: str, file: str) -> None:
        # Not in find_spec: imports made there would come back to it.
        from importlib import machinery

        self.machinery = machinery
        self.files = {name: file}
        self.directories: dict[str, str] = {}
        directory = os.path.dirname(file)
        if os.path.basename(file) == "__init__.py":
            directory = os.path.dirname(directory)
        parent = name.rpartition(".")[0]
        while parent:
            if parent not in sys.modules:
                self._answer_for(parent, directory)
            directory = os.path.dirname(directory)
            parent = parent.rpartition(".")[0]

    def _answer_for(self, package: str, directory: str) -> None:
        matches = os.path.basename(directory) == package.rpartition(".")[2]
        self.directories[package] = directory if matches else ""
        init = os.path.join(directory, "__init__.py")
        if matches and os.path.isfile(init):
            self.files[package] = init

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """For the import system."""
        file = self.files.get(name)
        if file is None:
            if name not in self.directories:
                return None
            spec = self.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [d for d in [self.directories[name]] if d]
            return spec
        is_package = os.path.basename(file) == "__init__.py"
        loader = self.machinery.SourceFileLoader(name, file)
        spec = self.machinery.ModuleSpec(name, loader, origin=file, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec
