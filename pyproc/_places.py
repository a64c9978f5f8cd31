"""Where an interpreter and an application lie: what a sandbox has to leave readable."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable

_MODULES_MAX = 2000


def of_interpreter(python: str, is_ours: bool) -> list[str]:
    """The interpreter with all of its library, and this package."""
    found = [os.path.dirname(os.path.abspath(__file__))]
    seen = python
    for _ in range(20):  # every link on the way to the program
        found.append(os.path.dirname(seen))
        if not os.path.islink(seen):
            break
        seen = os.path.normpath(os.path.join(os.path.dirname(seen), os.readlink(seen)))
    if is_ours:
        found += [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
        found += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")]
        found += site.getsitepackages()
    else:
        found += _foreign_places(python)
    broad = ("/", "/usr", "/usr/bin", "/bin", "/usr/local", "/usr/local/bin")
    return outermost(path for path in found if os.path.isdir(path) and path not in broad)


def _foreign_places(python: str) -> list[str]:
    """Prefixes of another interpreter: where its program lies, and what pyvenv.cfg names."""
    found = []
    for program in (python, os.path.realpath(python)):
        prefix = os.path.dirname(os.path.dirname(program))
        if prefix != "/":
            found.append(prefix)
        try:
            with open(os.path.join(prefix, "pyvenv.cfg")) as file:
                home = [line.partition("=")[2].strip() for line in file if line.startswith("home")]
        except OSError:
            continue
        found += [os.path.dirname(path) for path in home if os.path.isabs(path)]
    return [path for path in found if path not in ("/", "/usr")]


def is_below(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other.rstrip('/')}/") for other in others)


def outermost(paths: Iterable[str]) -> list[str]:
    """Without those that lie below another one, each once."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not is_below(path, found):
            found.append(path)
    return found


_ENDINGS = (".py", ".pyc", ".so", ".zip", ".egg", ".pth", ".dist-info")


def modules_in(directory: str) -> list[str]:
    """What an import could take from there."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return []
    return [entry.path for entry in entries if _is_module(entry)][:_MODULES_MAX]


def _is_module(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith(_ENDINGS):
        return True
    return entry.name.isidentifier() and entry.is_dir() and _has_modules(entry.path)


def _has_modules(directory: str) -> bool:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return False
    return any(
        entry.name.endswith((".py", ".so"))
        or (entry.name.isidentifier() and os.path.exists(f"{entry.path}/__init__.py"))
        for entry in entries
    )
