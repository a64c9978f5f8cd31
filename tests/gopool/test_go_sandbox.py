"""A worker of the Go pool closes itself in when its environment asks for it, and keeps its pid."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gopool.client import DEADLINE, Client, Started

APP = Path(__file__).parent / "apps" / "confined.py"
PROFILES = ["baseline", "strict", "compute"]
Start = Callable[..., Started]

pytestmark = pytest.mark.no_sanitizer("the program is started without the sanitizer's runtime")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="go-") as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts workers, and ends them with the test."""
    started = []
    secret = folder / "secret.txt"
    secret.write_text("secret")

    def begin(*command: str, **environment: str) -> Started:
        environment = {"TEST_SECRET_FILE": str(secret)} | environment
        own = [sys.executable, *(command or (str(APP),))]
        started.append(Started(folder / "s-0", environment, own))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def answers(client: Client, *names: str) -> dict[str, Any]:
    return {name: client.call(number, name)["body"] for number, name in enumerate(names)}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_confined_worker_answers_and_reaches_nothing(start: Start, profile: str) -> None:
    with start(PYPROC_SANDBOX=profile).connect() as client:
        assert client.call(1, "double", {"value": 21})["body"] == 42
        found = answers(client, "reads", "connects", "binds")
    # In compute it is as if nothing were there.
    assert found.pop("reads") in ("PermissionError", "FileNotFoundError")
    assert found == {"connects": "PermissionError", "binds": "PermissionError"}


def test_without_asking_nothing_is_refused(start: Start) -> None:
    with start().connect() as client:
        found = answers(client, "reads", "connects", "binds", "executes")
    assert set(found.values()) == {"done"}


@pytest.mark.parametrize(
    ("profile", "answer"), [("baseline", "done"), ("strict", "PermissionError")]
)
def test_only_strict_refuses_programs(start: Start, profile: str, answer: str) -> None:
    with start(PYPROC_SANDBOX=profile).connect() as client:
        assert answers(client, "executes") == {"executes": answer}


def test_the_process_stays_the_one_that_was_started(start: Start) -> None:
    worker = start(PYPROC_SANDBOX="strict")
    with worker.connect() as client:
        assert answers(client, "pid") == {"pid": worker.process.pid}
    assert worker.stop() == 0


def test_a_script_is_imported_inside_before_it_serves(start: Start) -> None:
    with start(PYPROC_SANDBOX="baseline").connect() as client:
        assert answers(client, "at_import") == {"at_import": "PermissionError"}


def test_pyproc_worker_runs_nothing_of_the_script_outside(start: Start, folder: Path) -> None:
    trace = folder / "trace"
    script = folder / "docs.py"
    script.write_text(
        "import pyproc\n"
        f"try:\n    open({str(trace)!r}, 'a').write('x')\n"
        "except OSError:\n    pass\n"
        "@pyproc.expose\ndef double(req): return req['value'] * 2\n"
    )
    with start("-m", "pyproc", "worker", str(script), PYPROC_SANDBOX="baseline").connect() as one:
        assert one.call(1, "double", {"value": 4})["body"] == 8
    assert not trace.exists()


def test_the_secret_goes_in_without_the_environment(start: Start) -> None:
    worker = start(PYPROC_SANDBOX="strict", PYPROC_HMAC_SECRET="11" * 32)
    with worker.connect() as client:
        assert client.prove(bytes.fromhex("11" * 32)) == 1
        names = answers(client, "environment")["environment"]
    assert {"PYPROC_SANDBOX", "PYPROC_SOCKET_PATH"} <= set(names)
    assert not {"PYPROC_HMAC_SECRET", "PYPROC_CONFINED"} & set(names)
    started = Path(f"/proc/{worker.process.pid}/environ")
    if os.access(started, os.R_OK):
        assert b"PYPROC_HMAC" not in started.read_bytes()


def test_memory_beyond_its_limit_is_an_error_of_the_function(start: Start) -> None:
    with start(PYPROC_SANDBOX="strict", PYPROC_LIMITS_MEMORY="64MiB").connect() as client:
        assert client.call(1, "allocates", {"bytes": 2**20})["body"] == 2**20
        answer = client.call(2, "allocates", {"bytes": 2**30})
        assert not answer["ok"]
        assert client.call(3, "double", {"value": 1})["body"] == 2


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("PYPROC_LIMITS_OPEN_FILES", "128", "RLIMIT_NOFILE", 128),
        ("PYPROC_LIMITS_FILE_SIZE", "1MiB", "RLIMIT_FSIZE", 2**20),
        ("PYPROC_LIMITS_CPU_TIME", "30", "RLIMIT_CPU", 30),
        ("PYPROC_LIMITS_CORE", "0", "RLIMIT_CORE", 0),
        ("PYPROC_LIMITS_ADDRESS_SPACE", "64GiB", "RLIMIT_AS", 2**36),
    ],
)
def test_limits_hold_without_a_sandbox_too(
    start: Start, variable: str, text: str, name: str, value: int
) -> None:
    with start(**{variable: text}).connect() as client:
        assert client.call(1, "limit", {"name": name})["body"] == value


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("PYPROC_SANDBOX", "tight", "PYPROC_SANDBOX='tight'"),
        ("PYPROC_LIMITS_MEMROY", "1MiB", "PYPROC_LIMITS_MEMROY"),
        ("PYPROC_LIMITS_MEMORY", "much", "much"),
        ("PYPROC_LIMITS_PROCESSES", "4", "needs a supervisor"),
        ("PYPROC_LIMITS_OUTPUT", "4", "needs a supervisor"),
        ("PYPROC_CONFINED", "0,1,2", "not for you to set"),
    ],
)
def test_a_wrong_wish_ends_the_worker_before_it_listens(
    start: Start, folder: Path, variable: str, text: str, said: str
) -> None:
    worker = start(**{variable: text})
    output = worker.said()
    assert worker.process.wait(DEADLINE) == 2
    assert said in output
    assert not (folder / "s-0").exists()


def test_an_option_of_a_keeper_is_refused_by_name(start: Start, folder: Path) -> None:
    script = folder / "docs.py"
    script.write_text(
        "import pyproc\n@pyproc.expose\ndef f(req): return 1\n"
        "pyproc.run_worker(sandbox=pyproc.Sandbox('baseline', namespaces=['net']))\n"
    )
    worker = start(str(script))
    assert "Sandbox(namespaces=)" in worker.said()
    assert worker.process.returncode == 2


def test_the_script_itself_may_ask(start: Start, folder: Path) -> None:
    script = folder / "docs.py"
    script.write_text(
        "import socket\nimport pyproc\n"
        "@pyproc.expose\ndef connects(req):\n"
        "    try:\n        socket.socket().close()\n"
        "    except OSError as error:\n        return type(error).__name__\n"
        "pyproc.run_worker(sandbox='strict', limits=pyproc.Limits(memory='256MiB'))\n"
    )
    with start(str(script)).connect() as client:
        assert answers(client, "connects") == {"connects": "PermissionError"}


def test_a_sandbox_that_cannot_be_had_leaves_no_socket(start: Start, folder: Path) -> None:
    script = folder / "docs.py"
    script.write_text(
        "import pyproc\nfrom pyproc import _core\n"
        "def refuse(box, all_threads):\n    raise PermissionError(1, 'refused here', 'landlock')\n"
        "_core.enter_sandbox = refuse\n"
        "@pyproc.expose\ndef f(req): return 1\n"
        "pyproc.run_worker(sandbox='strict')\n"
    )
    worker = start(str(script))
    assert "refused here" in worker.said()
    assert worker.process.returncode == 2
    assert not (folder / "s-0").exists()
