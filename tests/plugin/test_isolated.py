"""`@pytest.mark.isolated`: an item's whole protocol in a worker, and its deaths as failures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from fix_runs import Runs

SEGFAULT = """
import ctypes, sys
import pytest

@pytest.mark.isolated
def test_segfault():
    print("out before")
    print("err before", file=sys.stderr)
    ctypes.string_at(0)

@pytest.mark.isolated
def test_next():
    pass
"""


def test_an_isolated_test_runs_in_another_process(runs: Runs) -> None:
    done = runs.pytest(
        "-rA",
        test="""
import os, pytest
HERE = os.getpid()

@pytest.mark.isolated
def test_it(request):
    assert os.getpid() == HERE  # imported there too
    print("ran in", os.getpid())

def test_not_there(request):
    print("ran in", os.getpid())
""",
    )
    done.assert_outcomes(passed=2)
    pids = [line.split()[-1] for line in done.outlines if line.startswith("ran in")]
    assert len(set(pids)) == 2


def test_a_segfault_is_one_failed_test_with_its_stack_and_its_last_words(runs: Runs) -> None:
    done = runs.pytest(test=SEGFAULT)
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines([
        "WorkerCrashed: the test's worker crashed with SIGSEGV*",
        "*line 9 in test_segfault*",
        "The last that it wrote to stderr:",
        "*err before*",
        "*Captured stdout call*",
        "out before",
        "FAILED test_it.py::test_segfault - WorkerCrashed: *",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("how", "told"),
    [("os._exit(3)", "WorkerExited: *exit code 3*"), ("os.abort()", "WorkerCrashed: *SIGABRT*")],
)
def test_other_deaths_are_failed_tests(runs: Runs, how: str, told: str) -> None:
    done = runs.pytest(
        test=f"import os, pytest\n@pytest.mark.isolated\ndef test_it():\n    {how}\n"
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([told])


@pytest.mark.parametrize(
    ("where", "outcomes"),
    [("setup", {"errors": 1}), ("teardown", {"passed": 1, "errors": 1})],
)
def test_a_death_in_a_fixture_is_told_of_its_phase(
    runs: Runs, where: str, outcomes: dict[str, int]
) -> None:
    before, after = ("os.abort()", "") if where == "setup" else ("", "os.abort()")
    done = runs.pytest(
        test=f"""
import os, pytest

@pytest.fixture
def resource():
    {before}
    yield
    {after}

@pytest.mark.isolated
def test_it(resource):
    pass
"""
    )
    done.assert_outcomes(**outcomes)
    done.stdout.fnmatch_lines([f"*SIGABRT in {where}*"])


def test_a_timeout_is_a_failed_test_with_its_stack(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import time, pytest

@pytest.mark.isolated(timeout=0.5)
def test_it():
    time.sleep(600)

@pytest.mark.isolated
def test_next():
    pass
"""
    )
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(["TaskTimeout: *timeout of 0.5 s*", "*line 6 in test_it*"])


def test_too_much_memory_is_a_failed_test(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import pytest

@pytest.mark.isolated(memory="64MiB")
def test_it():
    held = []
    for _ in range(4096):
        held.append(bytearray(2**20))
"""
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["MemoryLimitExceeded: *memory of 64 MiB*"])


def test_every_outcome_comes_back_as_pytest_knows_it(runs: Runs) -> None:
    done = runs.pytest(
        "-rs",
        test="""
import warnings, pytest
pytestmark = pytest.mark.isolated

@pytest.mark.parametrize("n", [1, 2])
def test_both(n): assert n == 1
def test_skip(): pytest.skip("because")
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.xfail
def test_xpass(): pass
@pytest.fixture
def broken(): raise ValueError("no")
def test_error(broken): pass
def test_warns(): warnings.warn("look out", DeprecationWarning)
""",
    )
    done.assert_outcomes(passed=2, failed=1, skipped=1, xfailed=1, xpassed=1, errors=1, warnings=1)
    done.stdout.fnmatch_lines(["*DeprecationWarning: look out*", "SKIPPED*because*"])


def test_assertions_are_rewritten_in_the_worker(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import pytest
@pytest.mark.isolated
def test_it():
    have = {"a": 1}
    assert have == {"a": 2}
"""
    )
    done.stdout.fnmatch_lines(
        ["E*AssertionError: assert {'a': 1} == {'a': 2}", "E*{'a': 1} != {'a': 2}"]
    )


def test_fixtures_live_as_long_as_their_scope(runs: Runs) -> None:
    runs.file(
        "conftest.py",
        """
import os, pytest

def note(what):
    with open("notes", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

@pytest.fixture(scope="session")
def session():
    note("session"); yield os.getpid(); note("end-session")

@pytest.fixture(scope="module")
def module(session):
    note("module"); yield; note("end-module")
""",
    )
    body = """
import os, pytest
@pytest.mark.isolated
@pytest.mark.parametrize("n", range(3))
def test_it(session, module, n):
    assert session == os.getpid()
"""
    runs.file("test_a.py", body)
    runs.file("test_b.py", body)
    runs.pytest().assert_outcomes(passed=6)
    notes = (runs.path / "notes").read_text().split()
    assert notes[::2] == [
        "session", "module", "end-module", "module", "end-module", "end-session"
    ]  # fmt: skip
    assert len(set(notes[1::2])) == 1


def test_an_error_of_the_last_fixture_is_an_error_of_the_run(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import pytest
@pytest.fixture(scope="session")
def late():
    yield
    raise ValueError("too late")
@pytest.mark.isolated
def test_it(late): pass
"""
    )
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*ValueError: too late*"])


def test_plain_tests_between_isolated_ones_keep_their_fixtures(runs: Runs) -> None:
    runs.file("test_other.py", "def test_last(): pass")
    done = runs.pytest(
        "test_it.py", "test_other.py",
        test="""
import pytest
@pytest.fixture(scope="module", autouse=True)
def resource():
    yield
class TestPlain:
    def test_a(self): pass
class TestIsolated:
    @pytest.mark.isolated
    def test_b(self): pass
""",
    )  # fmt: skip
    done.assert_outcomes(passed=3)


def test_x_stops_at_the_first_crash(runs: Runs) -> None:
    done = runs.pytest("-x", test=SEGFAULT)
    done.assert_outcomes(failed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_lf_runs_what_crashed(runs: Runs) -> None:
    runs.pytest(test=SEGFAULT).assert_outcomes(failed=1, passed=1)
    done = runs.pytest("--lf")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*rerun previous 1 failure*"])


def test_junitxml_has_each_item_once_with_its_crash(runs: Runs) -> None:
    runs.pytest("--junitxml=out.xml", test=SEGFAULT)
    cases = ElementTree.parse(runs.path / "out.xml").findall(".//testcase")
    assert [case.get("name") for case in cases] == ["test_segfault", "test_next"]
    failure = cases[0].find("failure")
    assert failure is not None
    assert "SIGSEGV" in str(failure.get("message"))
    assert "test_segfault" in str(failure.text)


def test_recorded_properties_reach_junitxml(runs: Runs) -> None:
    runs.pytest(
        "--junitxml=out.xml",
        test="""
import pytest
@pytest.mark.isolated
def test_it(record_property): record_property("colour", "red")
""",
    )
    found = ElementTree.parse(runs.path / "out.xml").find(".//property")
    assert found is not None
    assert found.attrib == {"name": "colour", "value": "red"}


def test_pdb_is_told_to_be_elsewhere_and_how(runs: Runs) -> None:
    done = runs.pytest(
        "--pdb", test="import pytest\n@pytest.mark.isolated\ndef test_it(): assert 0\n"
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*--pyproc-isolated=off*"])


def test_isolation_can_be_switched_off(runs: Runs) -> None:
    done = runs.pytest(
        "--pyproc-isolated=off", "-s",
        test="""
import os, pytest
def test_plain(): print("pid", os.getpid())
@pytest.mark.isolated
def test_it(): print("pid", os.getpid())
""",
    )  # fmt: skip
    done.assert_outcomes(passed=2)
    pids = {part.split()[0] for part in str(done.stdout).split("pid ")[1:]}
    assert len(pids) == 1


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("isolated(timout=1)", "*isolated(timout=): there are timeout, memory, sandbox*"),
        ("isolated(5)", "*takes keywords only*"),
        ("isolated(timeout=-1)", "*isolated(timeout=)=-1*above 0*"),
        ("isolated(memory='lots')", "*isolated(memory=)*lots*"),
        ("isolated(sandbox='castle')", "*castle*"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(runs: Runs, marker: str, told: str) -> None:
    done = runs.pytest(test=f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pass\n")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([told])


def test_parameters_that_differ_between_processes_are_explained(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import os, pytest
@pytest.mark.isolated
@pytest.mark.parametrize("n", [os.getpid()])
def test_it(n): pass
"""
    )
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*must be the same in every process*"])


def test_a_broken_conftest_of_the_worker_is_an_error_with_its_reason(runs: Runs) -> None:
    runs.file(
        "conftest.py",
        "import sys\n"
        "if 'pyproc.testing.worker' in sys.modules:\n    raise RuntimeError('not here')\n",
    )
    done = runs.pytest(test="import pytest\n@pytest.mark.isolated\ndef test_it(): pass\n")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*not here*"])


def test_exit_in_a_worker_ends_the_run(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import pytest
@pytest.mark.isolated
def test_it(): pytest.exit("enough", returncode=7)
def test_never(): pass
"""
    )
    assert done.ret == 7
    done.stdout.fnmatch_lines(["*enough*"])


def test_nothing_is_left_of_a_run(runs: Runs) -> None:
    runs.pytester._monkeypatch.setenv("TMPDIR", str(runs.path))
    runs.pytest("-p", "no:tmpdir", test=SEGFAULT).assert_outcomes(failed=1, passed=1)
    assert list(runs.path.glob("pyproc-*")) == []


def test_under_xdist_each_worker_has_its_own_isolated_items(runs: Runs) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed: not run under xdist")
    done = runs.pytest(
        "-n", "2",
        test="""
import ctypes, os, pytest
pytestmark = pytest.mark.isolated
@pytest.fixture(scope="session")
def session():
    yield os.getpid()
@pytest.mark.parametrize("n", range(6))
def test_it(session, n): assert session == os.getpid()
def test_crash(): ctypes.string_at(0)
def test_skip(): pytest.skip("why")
""",
    )  # fmt: skip
    done.assert_outcomes(passed=6, failed=1, skipped=1)
    done.stdout.fnmatch_lines(["*SIGSEGV*"])


def test_a_run_without_isolated_tests_imports_nothing_of_pyproc(runs: Runs) -> None:
    done = runs.pytest(
        test="""
import sys
def test_it():
    assert [n for n in sys.modules if n.startswith("pyproc.")] == ["pyproc.pytest_plugin"]
"""
    )
    done.assert_outcomes(passed=1)
