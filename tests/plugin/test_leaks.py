"""`--pyproc-leaks`: what an isolated test leaves in its worker."""

from __future__ import annotations

import pytest
from fix_runs import Runs

LEAKS = {
    "descriptors": "kept.append(open('/dev/null'))",
    "processes": "kept.append(subprocess.Popen(['sleep', '600']))",
    "threads": "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "memory": "kept.append(bytearray(b'x') * (64 * 2**20))",
}
TEST = """
import subprocess, threading, time
import pytest
kept = []

@pytest.mark.isolated
def test_leaks():
    {leak}

@pytest.mark.isolated
def test_clean():
    with open("/dev/null"):
        subprocess.run(["true"])
"""


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_a_failed_test_that_names_it(runs: Runs, kind: str) -> None:
    done = runs.pytest("--pyproc-leaks=error", test=TEST.format(leak=LEAKS[kind]))
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(["*test left something behind in its worker:*", f"  {kind}: *"])


def test_a_process_that_went_its_own_way_is_found(runs: Runs) -> None:
    leak = "subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 &'])"
    for _ in range(10):  # the keeper ends it within a second: a busy machine may look too late
        done = runs.pytest("--pyproc-leaks=error", test=TEST.format(leak=leak))
        if done.parseoutcomes().get("failed"):
            break
    done.assert_outcomes(failed=1, passed=1)
    done.stdout.fnmatch_lines(["  processes: *sleep 600*"])


def test_leaks_can_be_warned_of(runs: Runs) -> None:
    done = runs.pytest("--pyproc-leaks=warn", test=TEST.format(leak=LEAKS["descriptors"]))
    done.assert_outcomes(passed=2, warnings=1)
    done.stdout.fnmatch_lines(["*left something behind*"])


def test_leaks_are_not_looked_for_unless_asked(runs: Runs) -> None:
    runs.pytest(test=TEST.format(leak=LEAKS["descriptors"])).assert_outcomes(passed=2)


def test_one_test_may_be_left_out(runs: Runs) -> None:
    text = TEST.format(leak=LEAKS["descriptors"]).replace("isolated\n", "isolated(leaks='off')\n")
    runs.pytest("--pyproc-leaks=error", test=text).assert_outcomes(passed=2)


def test_what_a_wider_fixture_holds_is_no_leak(runs: Runs) -> None:
    done = runs.pytest(
        "--pyproc-leaks=error",
        test="""
import subprocess, pytest

@pytest.fixture(scope="session")
def server():
    with open("/dev/null") as file:
        process = subprocess.Popen(["sleep", "600"])
        yield bytearray(b"x") * (64 * 2**20)
        process.kill()
        process.wait()

@pytest.mark.isolated
@pytest.mark.parametrize("n", range(2))
def test_it(server, n): pass
""",
    )
    done.assert_outcomes(passed=2)


def test_what_a_test_may_keep_in_memory_can_be_chosen(runs: Runs) -> None:
    runs.file("pytest.ini", "[pytest]\npyproc_leaks_rss = 256MiB\n")
    done = runs.pytest("--pyproc-leaks=error", test=TEST.format(leak=LEAKS["memory"]))
    done.assert_outcomes(passed=2)
