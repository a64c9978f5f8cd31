"""The command line: what each command answers, its exit code, and errors as one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import python_path

from pyproc import Pool, WorkerCrashed
from pyproc.cli import main
from pyproc.cli.root import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


class Ended:
    """A command's exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


class Shell:
    """Runs commands in this process."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *words: object) -> Ended:
        self._captured.readouterr()
        code = main([str(word) for word in words])
        return Ended(code, *self._captured.readouterr())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Shell:
    """`run("ps", "--json")`."""
    return Shell(capsys)


@pytest.fixture
def control(app: str, tmp_path: Path) -> Iterator[str]:
    """The control socket of a running pool."""
    place = str(tmp_path / "run" / "c.sock")
    with Pool(app, max_workers=2, control=place, audit="a.jsonl"):
        yield place


def test_a_module_and_a_console_script_are_the_same_command(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": python_path(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pyproc", "doctor", "--quick", "--json"], cwd=tmp_path,
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usable"] is True
    assert 'pyproc = "pyproc.cli:entry"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("command", [*COMMANDS, "audit verify", "access review", "config show"])
def test_each_command_explains_itself(run: Shell, command: str) -> None:
    ended = run(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: pyproc " + command in ended.out


def test_a_wrong_command_or_option_names_the_nearest(run: Shell) -> None:
    ended = run("statz")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "pyproc: there is no command 'statz'; did you mean 'stats'?\n"
    assert run("ps", "--nope").code == 2


def test_without_its_libraries_the_command_line_says_what_to_install(
    run: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    ended = run("ps")
    assert ended.code == 6
    assert "pip install 'pyproc-native[cli]'" in ended.err


# ---- call, bench, init ----


def test_a_call_prints_the_functions_result(run: Shell, app: str) -> None:
    assert run("call", app, "double", "21").out == "42\n"
    assert run("call", app, "double", "--kw", "n=4", "--json").json == {"result": 8}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["fail", "gone"], 1, "ValueError: gone"),
        (["die"], 5, "the worker crashed with SIGABRT"),
        (["nap", "60", "--timeout", "0.2"], 5, "ran longer than its time limit"),
        (["double", "text"], 2, "argument 'n'"),
        (["missing"], 2, "no function 'missing'"),
        (["double", "1", "--kw", "n"], 2, "--kw 'n': NAME=VALUE is needed"),
        (["double", "1", "--set", "pool.limits.memroy=1MiB"], 2, "did you mean 'memory'?"),
    ],
)
def test_how_a_call_ended_is_the_exit_code(
    run: Shell, app: str, words: list[str], code: int, text: str
) -> None:
    ended = run("call", app, *words)
    assert ended.code == code
    assert text in ended.err
    assert "Traceback" not in ended.err.partition("Its Python stack")[0]


def test_an_error_as_json_stands_on_stdout(run: Shell, app: str) -> None:
    ended = run("call", app, "missing", "--json")
    assert ended.err == ""
    assert ended.json["exit"] == ended.code == 2


def test_bench_says_how_long_a_call_takes(run: Shell, app: str) -> None:
    found = run("bench", app, "double", "1", "--seconds", "0.2", "--json").json
    assert found["calls"] > 0
    assert 0 < found["p50_seconds"] <= found["p99_seconds"]
    assert found["submitted_per_second"] > 0


def test_init_makes_a_project_whose_tests_pass(run: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "word-count"
    assert run("init", folder, "--sandbox", "none").code == 0
    assert run("config", "check", folder / "pyproc.toml").code == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder,
        env=os.environ | {"PYTHONPATH": python_path(ROOT)}, capture_output=True, text=True,
        timeout=150, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    again = run("init", folder)
    assert again.code == 2
    assert "exists; nothing was written" in again.err


# ---- a running pool ----


def test_ps_stats_and_events_show_a_running_pool(run: Shell, control: str) -> None:
    workers = run("ps", "--control", control, "--json").json
    assert workers[0]["state"] == "ready"
    assert "STATE" in run("ps", "--control", control).out
    assert run("stats", "--control", control, "--json").json["workers"] == 1
    assert [one["kind"] for one in run("events", "--control", control, "--json").json][-1] == (
        "ready"
    )


def test_top_prints_what_happens_meanwhile(run: Shell, control: str) -> None:
    ended = run("top", "--control", control, "-n", "2", "--interval", "0.1")
    assert ended.out.count("idle") == 2
    assert "calls/s 0.0" in ended.out
    lines = run("top", "--control", control, "-n", "2", "--interval", "0.1", "--json").out
    assert [json.loads(line)["health"]["status"] for line in lines.splitlines()] == ["ok", "ok"]


def test_a_running_pool_is_changed_from_outside(run: Shell, control: str) -> None:
    assert run("isolate", "double", "--control", control).out == "isolated: double\n"
    assert run("release", "--control", control).code == 0
    assert run("resize", "--max", "3", "--control", control).out == "1 to 3\n"
    reloaded = run("reload", "--timeout", "60", "--control", control)
    assert reloaded.out == "generation 2\n", reloaded.err
    assert run("audit", "rotate", "--control", control).code == 0
    assert run("drain", "--timeout", "60", "--control", control, "--json").json == {"drained": True}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["ps"], 2, "say which pool"),
        (["ps", "--control", "nowhere.sock"], 3, "there is no control socket 'nowhere.sock'"),
        (["resize", "--control", "nowhere.sock"], 2, "--min or --max is needed"),
    ],
)
def test_a_pool_that_is_not_there_is_one_sentence(
    run: Shell, words: list[str], code: int, text: str
) -> None:
    ended = run(*words)
    assert ended.code == code
    assert ended.err.startswith("pyproc: ")
    assert text in ended.err
    assert ended.err.count("\n") == 1


# ---- audit, access, config ----


def test_audit_commands_verify_show_and_prune(run: Shell, app: str) -> None:
    assert run("audit", "keygen", "key").code == 0
    assert "never overwritten" in run("audit", "keygen", "key").err
    from pyproc import AuditLog

    with Pool(app, workers=1, audit=AuditLog("a.jsonl", key_file="key")) as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("die")
        pool._operations.rotate()
        pool.isolate("double")
    assert run("audit", "verify", "a.jsonl", "--key-file", "key").out.startswith("authentic: ")
    deaths = run("audit", "query", "a.jsonl", "--event", "worker.death", "--json").out
    assert json.loads(deaths)["detail"] == "signal: signal 6"
    assert run("audit", "query", "a.jsonl", "--where", "function=other").code == 1
    assert "did you mean 'function'?" in run(
        "audit", "query", "a.jsonl", "--where", "functoin=x"
    ).err  # fmt: skip
    assert len(run("audit", "tail", "a.jsonl", "-n", "3").out.splitlines()) == 3
    assert run("audit", "prune", "a.jsonl", "--keep", "0", "--key-file", "key").code == 0
    assert run("audit", "verify", "a.jsonl", "--key-file", "key").code == 0
    text = Path("a.jsonl").read_text()
    Path("a.jsonl").write_text(text.replace("double", "treble"))
    broken = run("audit", "verify", "a.jsonl", "--key-file", "key", "--json")
    assert (broken.code, broken.json["verdict"]) == (1, "broken")


POLICY = """version = 1
[roles.reader]
functions = ["d*"]
deny = ["die"]
[[bindings]]
role = "reader"
uid = 1000
"""


def test_access_commands_check_review_and_ask(run: Shell, app: str, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(POLICY)
    (tmp_path / "p.toml").chmod(0o600)
    assert run("access", "check", "p.toml").out == "1 roles, 1 bindings: sound\n"
    ended = run("access", "ask", "p.toml", "die", "--uid", "1000")
    assert (ended.code, ended.out) == (1, "denied: roles.reader.deny 'die'\n")
    assert run("access", "ask", "p.toml", "double", "--uid", "1000").code == 0
    (tmp_path / "p.toml").write_text(POLICY.replace("functions", "function"))
    wrong = run("access", "check", "p.toml")
    assert wrong.code == 2
    assert "p.toml:3: roles.reader.function: there is no such key" in wrong.err


def test_config_shows_each_value_and_where_it_is_from(
    run: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pyproc.toml"
    file.write_text('target = "a.py"\n[pool]\nworkers = 2\nenv = { TOKEN = "secret" }\n')
    monkeypatch.setenv("PYPROC_POOL_TIMEOUTS_TASK", "3")
    shown = {
        one["key"]: (one["value"], one["source"])
        for one in run("config", "show", file, "--set", "pool.workers=3", "--json").json
    }
    assert shown["pool.workers"] == (3, "argument")
    assert shown["pool.timeouts.task"] == (3, "PYPROC_POOL_TIMEOUTS_TASK")
    assert shown["pool.env.TOKEN"] == ("[not shown]", f"{file}:4")
    assert run("config", "check", file).code == 0
    file.write_text("[pool]\nworkerz = 2\n")
    assert "pyproc.toml:2: pool.workerz" in run("config", "check", file).err


def test_the_doctor_says_what_is_lost(run: Shell) -> None:
    found = run("doctor", "--quick", "--json").json
    names = {one["name"] for one in found["checks"]}
    assert {"kernel", "landlock", "seccomp", "namespaces", "cgroup", "open files"} <= names
    assert all(one["state"] == "ok" or one["found"] for one in found["checks"])
    assert "LOST WITHOUT" in run("doctor", "--quick").out
