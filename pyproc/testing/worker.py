"""The application whose workers run isolated test items: a pytest session of their own.

The session starts with the worker and lives as long as it, so that session fixtures are made once
a worker. A file is collected when its first item comes. What is answered is data: reports as
pytest's own `pytest_report_to_serializable` makes them.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from _pytest.config import _prepareconfig

import pyproc
from pyproc.testing import leaks
from pyproc.testing.capture import Capture, Journal
from pyproc.testing.plain import plain

#: Names the variable that tells a worker which session to start; a JSON object.
SESSION = "PYPROC_PYTEST_SESSION"

#: Options of the host's session that would do in the worker what only the host shall do.
_OWN: dict[str, Any] = {
    "usepdb": False,
    "trace": False,
    "maxfail": 0,
    "xmlpath": None,
    "htmlpath": None,
    "report_log": None,
    "json_report": False,
    "cacheclear": False,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "keyword": "",
    "markexpr": "",
    "deselect": None,
    "pyargs": False,
    "numprocesses": None,
    "maxprocesses": None,
    "dist": "no",
    "distload": False,
    "tx": [],
    "looponfail": False,
}
#: They print, or write the host's cache.
_SILENT = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin", "_cov")

app = pyproc.App()
_session: Session | None = None


@app.on_start
def start() -> None:
    """Starts the session. Whatever pytest or a conftest raises becomes a WorkerStartError."""
    global _session
    _session = Session(json.loads(os.environ.pop(SESSION)))


@app.expose
def run_item(nodeid: str, path: str, next_nodeid: str, is_last: bool) -> dict[str, Any]:
    """Runs an item's whole protocol.

    path: the file that it is collected from. next_nodeid: the item of the same file that comes
    next here, or "": all but session fixtures are torn down; is_last: these too.
    Answers its reports, warnings, and whether it wants the run to stop.
    """
    assert _session is not None
    return _session.run(nodeid, path, next_nodeid, is_last)


@app.expose
def finish() -> dict[str, Any]:
    """Ends the session; answers what its last fixtures said."""
    assert _session is not None
    return _session.finish()


class _Elsewhere(pytest.Item):
    """Stands for a next item of another file: only the session outlives the one before."""

    def runtest(self) -> None:
        """Is never run."""


class Recorder:
    """Hears what the session says and keeps it as data."""

    def __init__(self, config: pytest.Config, journal: Journal, capture: Capture | None) -> None:
        self.config = config
        self.journal = journal
        self.capture = capture
        self.reports: list[dict[str, Any]] = []
        self.warnings: list[dict[str, Any]] = []
        self.collect_errors: dict[str, str] = {}
        self.watch: leaks.Watch | None = None

    def begin(self) -> None:
        """A new item."""
        self.reports = []
        self.warnings = []
        self.journal.clear()
        if self.capture is not None:
            self.capture.clear()

    def add(self, report: Any) -> None:
        """Keeps a report."""
        hook = self.config.hook.pytest_report_to_serializable
        data = plain(hook(config=self.config, report=report))
        self.reports.append(data)
        self.journal.add(data)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The hook."""
        self.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """The hook; a file that cannot be imported is told by its first item."""
        if report.failed:
            self.collect_errors[report.nodeid] = report.longreprtext

    def pytest_warning_recorded(
        self, warning_message: Any, when: str, nodeid: str, location: Any
    ) -> None:
        """The hook."""
        self.warnings.append({
            "category": warning_message.category.__name__,
            "module": warning_message.category.__module__,
            "message": str(warning_message.message),
            "filename": str(warning_message.filename),
            "lineno": int(warning_message.lineno),
            "when": when,
            "nodeid": nodeid,
            "location": list(location) if location else None,
        })  # fmt: skip

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """The hook: output of the phase becomes a section of its report."""
        return (yield from self._phase(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """The hook, as above."""
        return (yield from self._phase(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Any:
        """The hook, as above."""
        return (yield from self._phase(item, "teardown"))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        """The hook: what a fixture of a wider scope holds is no leak of the item."""
        if self.watch is None or fixturedef.scope == "function":
            return (yield)
        with self.watch.allowed():
            return (yield)

    def _phase(self, item: pytest.Item, when: str) -> Any:
        try:
            return (yield)
        finally:
            if self.capture is not None:
                for stream, text in self.capture.take():
                    item.add_report_section(when, stream, text)


class Session:
    """One pytest session without a loop: items come by name."""

    def __init__(self, spec: dict[str, Any]) -> None:
        args = [str(argument) for argument in spec["args"]]
        at = args.index("--") if "--" in args else len(args)
        args[at:at] = [str(argument) for argument in spec["more_args"]]
        self.config = _prepareconfig(args)
        for name, value in {**_OWN, "basetemp": spec["basetemp"]}.items():
            if hasattr(self.config.option, name):
                setattr(self.config.option, name, value)
        self.config._do_configure()
        for name in _SILENT:
            if self.config.pluginmanager.has_plugin(name):
                self.config.pluginmanager.unregister(name=name)
        capture = Capture(spec["directory"]) if spec["captures"] else None
        self.recorder = Recorder(self.config, Journal(spec["directory"]), capture)
        self.config.pluginmanager.register(self.recorder, "pyproc-recorder")
        self.session = pytest.Session.from_config(self.config)
        self.session.exitstatus = pytest.ExitCode.OK
        self.config.hook.pytest_sessionstart(session=self.session)
        self.elsewhere = _Elsewhere.from_parent(self.session, name="elsewhere")
        self.files: dict[str, dict[str, pytest.Item]] = {}
        self.leaks: str = spec["leaks"]
        self.rss_growth: int = spec["leaks_rss"]

    def run(self, nodeid: str, path: str, next_nodeid: str, is_last: bool) -> dict[str, Any]:
        """See `run_item`."""
        self.recorder.begin()
        items = self._collect(path)
        item = items.get(nodeid)
        if item is None:
            return {"missing": self._missing(nodeid, path)}
        nextitem = items.get(next_nodeid) or (None if is_last else self.elsewhere)
        answer: dict[str, Any] = {}
        self.session.shouldstop = self.session.shouldfail = False
        try:
            self._protocol(item, nextitem)
        except pytest.exit.Exception as request:
            answer["exit"] = [str(request.msg), request.returncode]
        except KeyboardInterrupt:
            answer["interrupted"] = True
        if self.session.shouldstop:
            answer["stop"] = str(self.session.shouldstop)
        _save_coverage()
        return {**answer, "reports": self.recorder.reports, "warnings": self.recorder.warnings}

    def _protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        marker = {k: v for m in item.iter_markers("isolated") for k, v in m.kwargs.items()}
        if self.leaks == "off" or marker.get("leaks") == "off":
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            return
        watch = self.recorder.watch = leaks.Watch(self.rss_growth)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        finally:
            self.recorder.watch = None
        left = watch.left()
        if left:
            self._tell_leaks(left)

    def _tell_leaks(self, left: list[str]) -> None:
        """The call's report becomes a failure, or a warning tells."""
        text = "the test left something behind in its worker:\n  " + "\n  ".join(left)
        calls = [r for r in self.recorder.reports if r.get("when") == "call"]
        for report in calls or self.recorder.reports[-1:]:
            if self.leaks == "warn" or report.get("outcome") != "passed":
                report["sections"] = [*report.get("sections", []), ["pyproc leaks", text]]
                report["pyproc_leaks"] = text
            else:
                report["outcome"] = "failed"
                report["longrepr"] = text

    def _collect(self, path: str) -> dict[str, pytest.Item]:
        if path not in self.files:
            found = self.session.perform_collect([path])
            self.files[path] = {item.nodeid: item for item in found}
        return self.files[path]

    def _missing(self, nodeid: str, path: str) -> str:
        errors = self.recorder.collect_errors
        told = [text for name, text in errors.items() if nodeid.startswith(name)]
        if told:
            return "\n".join(told)
        return (
            f"the worker has collected {len(self.files[path])} items from {path}, and none is "
            f"{nodeid}: names and parameters must be the same in every process (no set order, "
            f"no addresses, no random or time in ids)"
        )

    def finish(self) -> dict[str, Any]:
        """See `finish`."""
        self.recorder.begin()
        text = ""
        try:
            self.session._setupstate.teardown_exact(None)
        except BaseException as raised:  # whatever a fixture raises
            text = str(pytest.ExceptionInfo.from_exception(raised).getrepr(style="short"))
        try:
            self.config.hook.pytest_sessionfinish(session=self.session, exitstatus=0)
            self.config._ensure_unconfigure()
        except BaseException as raised:  # of a plugin or conftest
            text = text or f"{type(raised).__name__}: {raised}"
        _save_coverage()
        return {"failed": text, "warnings": self.recorder.warnings}


def _save_coverage() -> None:
    """After each item, so that a crash loses the lines of one."""
    module = sys.modules.get("pyproc.testing.cover")
    if module is not None:
        module.save()
