"""Coverage of the lines that workers run.

The host's own `coverage.Coverage`, whoever started it (`coverage run`, pytest-cov, a worker of
xdist), is found by `Coverage.current()`. Workers measure with the same options into files of a
directory that the host made, and the host takes these into its data: nothing is configured.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from typing import Any

from pyproc import config

#: Names the variable that has workers measure; a JSON object. Only the pytest plugin sets it.
VARIABLE = "PYPROC_COVERAGE"
_OPTIONS = ("branch", "source", "source_pkgs", "source_dirs", "timid", "cover_pylib")
_measuring: Any = None


class HostSide:
    """The host's coverage, and where its workers put theirs."""

    def __init__(self, current: Any) -> None:
        self._current = current
        self._directory = tempfile.mkdtemp(prefix="pyproc-coverage-")
        self._allowed = config.ENVIRONMENT_ALLOWED
        self._before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = json.dumps(self._options())
        config.ENVIRONMENT_ALLOWED = (*self._allowed, VARIABLE)
        self._writable = config.WRITABLE
        config.WRITABLE = (*self._writable, os.path.realpath(self._directory))

    def _options(self) -> dict[str, Any]:
        found = self._current.config
        options = {name: getattr(found, name, None) for name in _OPTIONS}
        options["omit"] = getattr(found, "run_omit", None)
        options["include"] = getattr(found, "run_include", None)
        options["config_file"] = getattr(found, "config_file", None) or False
        options["data_file"] = os.path.join(self._directory, "lines")
        kept = {name: value for name, value in options.items() if value is not None}
        return {**kept, "cwd": os.getcwd()}

    def close(self) -> None:
        """Takes the workers' data in. Their pools are closed."""
        import coverage

        config.ENVIRONMENT_ALLOWED = self._allowed
        config.WRITABLE = self._writable
        if self._before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._before
        data = self._current.get_data()
        for name in sorted(os.listdir(self._directory)):
            if name.endswith(("-journal", "-wal", "-shm")):
                continue
            file = os.path.join(self._directory, name)
            found = coverage.CoverageData(file)
            try:
                found.read()
                if not self._is_parallel():
                    data.update(found)
            except coverage.CoverageException:
                continue  # of a worker that was killed while it wrote
            finally:
                found.close(force=True)
            if self._is_parallel():
                shutil.move(file, f"{data.base_filename()}.{name.partition('.')[2]}")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _is_parallel(self) -> bool:
        """Whether somebody combines files later: that takes files of equal lines for the same
        file, and looks at no more than what their own process ran."""
        suffixed = getattr(self._current, "_data_suffix_specified", None)
        return bool(suffixed or self._current.config.parallel)


def start_on_host() -> HostSide | None:
    """Has the workers of pools that are opened from now on measure, if this process does."""
    import coverage

    current = coverage.Coverage.current()
    return None if current is None else HostSide(current)


def start_in_worker(text: str) -> None:
    """Measures from now on, forked workers too. Called before the application is imported."""
    global _measuring
    try:
        import coverage
    except ImportError:  # another environment's interpreter
        return
    options = json.loads(text)
    options.pop("cwd", None)
    if options.get("source_dirs") is None or options.get("source"):
        options.pop("source_dirs", None)
    _measuring = coverage.Coverage(data_suffix=True, check_preimported=True, **options)
    _measuring.start()
    atexit.register(stop)


def save() -> None:
    """Writes what was measured so far."""
    if _measuring is not None:
        _measuring.save()


def stop() -> None:
    """At the end of a worker."""
    if _measuring is not None:
        _measuring.stop()
        _measuring.save()
