"""CPython's own tests of process executors, run against pyproc.Executor(results="pickle").

`python tests/conformance/standard.py [--tests DIRECTORY] [name ...]` finds test_concurrent_futures
in the interpreter's own `test` package, or in DIRECTORY (Debian's libpython3.11-testsuite has it in
/usr/lib/python3.11/test), puts our executor into a copy of each test class for process pools, and
runs those whose id is not in SKIPPED. Prints one line of JSON: the ids by outcome. Nothing of the
standard library's tests is kept here.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import importlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
import unittest
from types import ModuleType
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [ROOT, os.path.dirname(os.path.abspath(__file__))]

import pyproc  # noqa: E402

_INSIDE = "looks into ProcessPoolExecutor: "
_ONE = "asks that one crash ends the whole executor; here it ends one call"

#: Class (of the tests, before the kind of executor is put in) and test: why it is not run.
SKIPPED = {
    "ProcessPoolExecutorTest.test_killed_child": _INSIDE + "_processes; and " + _ONE,
    "ProcessPoolExecutorTest.test_saturation": _INSIDE + "_processes",
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": _INSIDE + "_processes",
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": _INSIDE + "_processes",
    "ProcessPoolExecutorTest.test_max_tasks_per_child": _INSIDE + "_processes",
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": _INSIDE
    + "_mp_context",
    "ProcessPoolExecutorTest.test_python_finalization_error": "makes the second thread that "
    "ProcessPoolExecutor starts fail, which is its queue's feeder; there is none here",
    "ProcessPoolShutdownTest.test_processes_terminate": _INSIDE + "_processes",
    "ProcessPoolShutdownTest.test_context_manager_shutdown": _INSIDE + "_processes",
    "ProcessPoolShutdownTest.test_del_shutdown": _INSIDE + "_executor_manager_thread, _call_queue",
    "ProcessPoolShutdownTest.test_shutdown_no_wait": _INSIDE
    + "_executor_manager_thread, _call_queue",
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": _INSIDE + "_executor_manager_thread",
    "ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _INSIDE
    + "its wake-up pipe is made to block",
}


class Standard(pyproc.Executor):
    """What the tests open."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, results="pickle", **kwargs)


def lend(directory: str, into: str) -> None:
    """Makes a `test` package in `into`: the interpreter's own, with what is in `directory`."""
    import test  # type: ignore[import-not-found]

    package = os.path.join(into, "test")
    os.mkdir(package)
    for source in (*test.__path__, directory):
        for name in os.listdir(source):
            if name != "__pycache__" and not os.path.lexists(os.path.join(package, name)):
                os.symlink(os.path.join(source, name), os.path.join(package, name))
    sys.path.insert(0, into)
    del sys.modules["test"]


def modules() -> list[ModuleType]:
    """The modules of the tests, of either layout: one file up to 3.11, a package since 3.12."""
    whole = importlib.import_module("test.test_concurrent_futures")
    if not hasattr(whole, "__path__"):
        return [whole]
    parts = ["test_as_completed", "test_deadlock", "test_init", "test_process_pool"]
    parts += ["test_shutdown", "test_wait"]
    return [importlib.import_module(f"{whole.__name__}.{part}") for part in parts]


def classes(module: ModuleType) -> dict[str, type[unittest.TestCase]]:
    """The classes of tests for spawned process pools, with our executor put into them."""
    found = {}
    for case in list(vars(module).values()):
        if not isinstance(case, type) or not issubclass(case, unittest.TestCase):
            continue
        spawn = [base for base in case.__bases__ if base.__name__ == "ProcessPoolSpawnMixin"]
        if not spawn or case.__module__ != module.__name__:
            continue
        mixin: Any = spawn[0]
        mixin.executor_type = Standard
        mixin.get_context = lambda self: multiprocessing.get_context("spawn")
        if "ctx" in vars(mixin):
            del mixin.ctx  # some tests then do as for threads: no multiprocessing.Queue is needed
        found[case.__bases__[0].__name__] = case
    return found


def patch_scripts(module: ModuleType) -> None:
    """Scripts that the tests run import the executor by its name: it is there for them."""
    if not hasattr(module, "assert_python_ok"):
        return
    original = module.assert_python_ok
    start = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "import concurrent.futures, standard; concurrent.futures.Standard = standard.Standard\n"
    )

    @functools.wraps(original)
    def with_executor(*args: str, **env: str) -> Any:
        return original(*args[:-1], start + args[-1], **env)

    module.assert_python_ok = with_executor  # type: ignore[attr-defined]


def main(arguments: list[str] | None = None) -> int:
    """Runs them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tests", metavar="DIRECTORY")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    suite = unittest.TestSuite()
    skipped = {}
    concurrent.futures.Standard = Standard  # type: ignore[attr-defined]
    folder = tempfile.TemporaryDirectory()
    if options.tests is not None:
        lend(options.tests, folder.name)
    for module in modules():
        patch_scripts(module)
        for name, case in classes(module).items():
            for test in unittest.defaultTestLoader.getTestCaseNames(case):
                id_ = f"{name}.{test}"
                if options.names and not any(part in id_ for part in options.names):
                    continue
                if id_ in SKIPPED:
                    skipped[id_] = SKIPPED[id_]
                else:
                    suite.addTest(case(test))
    log = io.StringIO()
    stream: Any = sys.stderr if options.names else log
    result = unittest.TextTestRunner(stream, verbosity=2).run(suite)
    bad = [(case.id(), text) for case, text in result.errors + result.failures]
    report = {
        "python": sys.version.split()[0],
        "run": result.testsRun,
        "passed": result.testsRun - len(bad) - len(result.skipped),
        "failed": dict(bad),
        "skipped_by_itself": {case.id(): why for case, why in result.skipped},
        "skipped": skipped,
    }
    print(json.dumps(report))
    folder.cleanup()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
