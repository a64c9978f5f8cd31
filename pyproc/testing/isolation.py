"""Items marked `isolated`, on the host: which worker runs them, and what becomes of its answer.

A worker for each sandbox, opened with the first item that needs it, one item at a time. It holds a
pytest session of its own (`worker.py`); this side says which item comes next and logs the reports.
"""

from __future__ import annotations

import inspect
import json
import os
import resource
import shutil
import tempfile
import time
import traceback
from typing import Any

import pytest

from pyproc import Limits, Pool, Timeouts, config, errors
from pyproc.testing import reports
from pyproc.testing.worker import SESSION

OPTIONS = ("timeout", "memory", "sandbox", "leaks")
_PDB = (
    "--pdb has no terminal in a worker: `--pyproc-isolated=off` runs the test in this process, "
    "where pdb can look at it"
)


def options_of(item: pytest.Item) -> dict[str, Any]:
    """What the item's markers ask for, the nearest one first. Raises ValueError or TypeError."""
    options: dict[str, Any] = {}
    for marker in item.iter_markers("isolated"):
        if marker.args:
            raise TypeError(
                "@pytest.mark.isolated takes keywords only: timeout=, memory=, sandbox="
            )
        for name, value in marker.kwargs.items():
            if name not in OPTIONS:
                raise TypeError(f"@pytest.mark.isolated({name}=): there are {', '.join(OPTIONS)}")
            options.setdefault(name, value)
    config.check_seconds(options.get("timeout"), "isolated(timeout=)")
    if options.get("memory") is not None:
        config.memory_size(options["memory"], "isolated(memory=)")
    if options.get("leaks", "off") != "off":
        raise ValueError(f"isolated(leaks={options['leaks']!r}): only 'off' can be said here")
    sandbox_options(options.get("sandbox"))
    return options


def sandbox_options(sandbox: object) -> dict[str, Any]:
    """Pool's option; a sandbox that this pyproc does not have is an error."""
    if "sandbox" in inspect.signature(Pool).parameters:
        return {"sandbox": "none" if sandbox is None else sandbox}
    if sandbox in (None, "none"):
        return {}
    raise ValueError(f"isolated(sandbox={sandbox!r}): only 'none' is offered by this version")


class Isolation:
    """The workers of one pytest session."""

    def __init__(self, pytest_config: pytest.Config) -> None:
        self.config = pytest_config
        self.workers: dict[str, _Worker] = {}
        self.order: dict[str, list[pytest.Item]] | None = None

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """The item's whole protocol, as the hook of that name."""
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in [*self._reports(item, nextitem), *_tear_down_here(item, nextitem)]:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _reports(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        try:
            options = options_of(item)
            worker = self._worker(options.get("sandbox"))
        except (TypeError, ValueError, errors.Error, OSError) as error:
            text = f"{type(error).__name__}: {error}"
            return [reports.failed(item, "setup", text), reports.passed(item, "teardown")]
        following, is_last = self._following(item, nextitem, _key(options.get("sandbox")))
        return worker.run(item, options, following, is_last)

    def _worker(self, sandbox: object) -> _Worker:
        key = _key(sandbox)
        if key not in self.workers:
            self.workers[key] = _Worker(self.config, sandbox)
        return self.workers[key]

    def _following(
        self, item: pytest.Item, nextitem: pytest.Item | None, key: str
    ) -> tuple[str, bool]:
        """The worker's next item of the same file, and whether this is its last one at all."""
        if hasattr(self.config, "workerinput"):  # xdist: only the next one is known
            near = [nextitem] if nextitem is not None and is_isolated(nextitem) else []
            is_last = nextitem is None
        else:
            order = self._order(item.session).get(key, [])
            at = next((n for n, other in enumerate(order) if other is item), len(order))
            near = order[at + 1 : at + 2]
            is_last = not near
        for other in near:
            if other is not None and other.path == item.path and _key_of(other) == key:
                return other.nodeid, False
        return "", is_last

    def _order(self, session: pytest.Session) -> dict[str, list[pytest.Item]]:
        if self.order is None:
            self.order = {}
            for item in session.items:
                if is_isolated(item):
                    self.order.setdefault(_key_of(item), []).append(item)
        return self.order

    def finish(self, session: pytest.Session) -> None:
        """Ends the workers' sessions; what their last fixtures raise is an error of the run."""
        workers, self.workers = self.workers, {}
        for worker in workers.values():
            try:
                report = worker.finish()
            finally:
                worker.close()
            if report is not None:
                session.ihook.pytest_runtest_logreport(report=report)

    def abandon(self) -> None:
        """Kills what is left."""
        workers, self.workers = self.workers, {}
        for worker in workers.values():
            worker.close(0)


class _Worker:
    """A pool of one worker, its directory, and the item that it ran last."""

    def __init__(self, pytest_config: pytest.Config, sandbox: object) -> None:
        self.config = pytest_config
        self.directory = tempfile.mkdtemp(prefix="pyproc-pytest-")
        self.captures = pytest_config.getoption("capture") != "no"
        self.last: pytest.Item | None = None
        self.started = False
        try:
            self.pool = self._open(sandbox)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _open(self, sandbox: object) -> Pool:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        environment = {
            name: value for name, value in os.environ.items() if name and "\0" not in value
        }
        return Pool(
            "pyproc.testing.worker:app",
            workers=1,
            start_method="exec",
            cwd=self.config.invocation_params.dir,
            env={**environment, SESSION: json.dumps(self._session())},
            limits=Limits(open_files=None if files == resource.RLIM_INFINITY else files),
            timeouts=Timeouts(start=float(self.config.getini("pyproc_start_timeout"))),
            output="drop" if self.captures else "forward",
            **sandbox_options(sandbox),
        )

    def _session(self) -> dict[str, Any]:
        more = ["--capture=no"]
        if self.config.pluginmanager.has_plugin("pytest_cov"):
            more.append("--no-cov")  # cover.py measures
        factory = getattr(self.config, "_tmp_path_factory", None)
        base = factory.getbasetemp() if factory is not None else None
        return {
            "args": list(map(str, self.config.invocation_params.args)),
            "more_args": more,
            "basetemp": None if base is None else f"{base}/{os.path.basename(self.directory)}",
            "directory": self.directory,
            "captures": self.captures,
            "leaks": self.config.getoption("pyproc_leaks"),
            "leaks_rss": config.parse_size(
                self.config.getini("pyproc_leaks_rss"), "pyproc_leaks_rss"
            ),
        }

    def run(
        self, item: pytest.Item, options: dict[str, Any], following: str, is_last: bool
    ) -> list[pytest.TestReport]:
        """The reports of an item; a death of the worker is one of them."""
        self.last = item
        began = time.monotonic()
        limited = self.pool.options(timeout=options.get("timeout"), memory=options.get("memory"))
        try:
            answer = limited.call("run_item", item.nodeid, str(item.path), following, is_last)
        except (errors.Error, pytest.fail.Exception) as error:
            hint = _PDB if self.config.getoption("usepdb", False) else ""
            return reports.of_death(
                item,
                error,
                self.directory,
                seconds=time.monotonic() - began,
                timeout=options.get("timeout"),
                hint=hint,
            )
        except Exception as error:  # of this plugin itself
            text = "".join(traceback.format_exception(error))
            return [reports.failed(item, "setup", text), reports.passed(item, "teardown")]
        return self._read(item, answer)

    def _read(self, item: pytest.Item, answer: Any) -> list[pytest.TestReport]:
        try:
            if not isinstance(answer, dict):
                raise reports.BadReport("the worker's answer is no dictionary")
            if "missing" in answer:
                text = str(answer["missing"])
                return [reports.failed(item, "setup", text), reports.passed(item, "teardown")]
            if not isinstance(answer.get("reports"), list):
                raise reports.BadReport("the worker's answer has no list of reports")
            made = [reports.rebuild(item, data) for data in answer["reports"]]
        except reports.BadReport as error:
            text = f"{error}: did the test write to a descriptor that is not its own?"
            return [reports.failed(item, "call", text), reports.passed(item, "teardown")]
        told = answer.get("warnings")
        for data in told if isinstance(told, list) else []:
            reports.warn(item, data)
        for report in made:
            left = getattr(report, "pyproc_leaks", None)
            if left and report.passed:
                item.warn(pytest.PytestWarning(str(left)))
            if report.failed and self.config.getoption("usepdb", False):
                report.sections.append(("pyproc", _PDB))
        _obey(item, answer)
        return made

    def finish(self) -> pytest.TestReport | None:
        """Ends the session in the worker; a failure of that as a report."""
        if self.last is None or not self._is_alive():
            return None
        try:
            answer = self.pool.options(timeout=60).call("finish")
        except errors.Error as error:
            return reports.failed(
                self.last, "teardown", f"the worker's session did not end: {error}"
            )
        if isinstance(answer, dict) and answer.get("failed"):
            return reports.failed(self.last, "teardown", str(answer["failed"]))
        return None

    def _is_alive(self) -> bool:
        """Whether there is a session to end: a worker that died took its own along."""
        return any(worker.tasks_done for worker in self.pool.workers())

    def close(self, timeout: float | None = 10) -> None:
        """Ends the worker, and takes away its directory."""
        self.pool.close(timeout)
        shutil.rmtree(self.directory, ignore_errors=True)


def is_isolated(item: pytest.Item) -> bool:
    """Whether a worker runs the item."""
    return item.get_closest_marker("isolated") is not None


def _key(sandbox: object) -> str:
    return repr(sandbox or "none")


def _key_of(item: pytest.Item) -> str:
    try:
        return _key(options_of(item).get("sandbox"))
    except (TypeError, ValueError):
        return "none"


def _obey(item: pytest.Item, answer: dict[str, Any]) -> None:
    if answer.get("interrupted"):
        raise KeyboardInterrupt
    if isinstance(answer.get("exit"), list) and len(answer["exit"]) == 2:
        reason, code = answer["exit"]
        pytest.exit(str(reason), code if isinstance(code, int) else None)
    if answer.get("stop"):
        item.session.shouldstop = str(answer["stop"])


def _tear_down_here(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """What earlier items of this process left set up, as far as the next one does not need it."""
    try:
        item.session._setupstate.teardown_exact(nextitem)
    except BaseException as raised:
        if isinstance(raised, KeyboardInterrupt | pytest.exit.Exception):
            raise
        text = "".join(traceback.format_exception(raised))
        return [reports.failed(item, "teardown", text)]
    return []
