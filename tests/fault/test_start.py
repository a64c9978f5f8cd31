"""Applications that cannot be started: a clear error in time, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hosts import descendants, is_gone, wait_gone

from pyproc import Pool, Timeouts, errors

DEADLINE = 60.0
HEAD = """
import ctypes, os, signal, socket, sys, threading, time
from pyproc import App
app = App()
@app.expose
def add(a: int, b: int) -> int:
    return a + b
@app.expose
def pid() -> int:
    return os.getpid()
"""


def write_app(folder: Path, body: str) -> Path:
    """An application that does `body` at import."""
    path = folder / "some_app.py"
    path.write_text(HEAD + body)
    return path


def chain(error: BaseException | None) -> str:
    """The error and its causes as text."""
    parts = []
    while error is not None:
        parts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('no licence here')", ["ValueError", "no licence here", "some_app.py"]),
        ("import no_such_module_here", ["ModuleNotFoundError", "no_such_module_here"]),
        ("def broken(:", ["SyntaxError"]),
        ("sys.exit(3)", ["SystemExit"]),
        ("raise KeyboardInterrupt", ["KeyboardInterrupt"]),
        ("raise GeneratorExit", ["GeneratorExit"]),
        ("class Odd(BaseException): pass\nraise Odd('odd')", ["Odd"]),
        ("del app", ["app"]),
        ("app = 5", ["app"]),
        ("@app.on_start\ndef load(): raise RuntimeError('no model')", ["RuntimeError", "no model"]),
        ("def f(): f()\nf()", ["RecursionError"]),
        ("raise ExceptionGroup('many', [ValueError('one'), KeyError('two')])", ["many", "one"]),
    ],
)
def test_an_app_that_raises_is_a_start_error_with_its_own_words(
    tmp_path: Path, body: str, words: list[str]
) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.WorkerStartError) as caught:
        Pool(write_app(tmp_path, body), workers=2, sandbox="none")
    assert time.monotonic() - begin < 15
    text = chain(caught.value)
    assert not [word for word in words if word not in text], text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os._exit(7)", ["exit code 7"]),
        ("os._exit(0)", ["exit code 0"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", ["signal 9"]),
        ("print('my last', file=sys.stderr, flush=True)\nos._exit(1)", ["my last"]),
        ("ctypes.CDLL(None).exit(5)", ["exit code 5"]),
        pytest.param(
            "ctypes.string_at(0)",
            ["signal 11", "some_app.py"],
            marks=pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself"),
        ),
        pytest.param(
            "os.abort()",
            ["signal 6"],
            marks=pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself"),
        ),
        ("for fd in range(3, 1024):\n  try: os.write(fd, b'\\xff' * 64)\n  except OSError: pass\n"
         "time.sleep(100)", ["protocol"]),
    ],
)  # fmt: skip
def test_an_app_that_ends_its_process_is_a_start_error_that_says_how(
    tmp_path: Path, body: str, words: list[str]
) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.WorkerStartError) as caught:
        Pool(write_app(tmp_path, body), workers=2, sandbox="none")
    assert time.monotonic() - begin < 20
    text = chain(caught.value)
    assert not [word for word in words if word not in text], text


def test_an_app_that_closes_all_descriptors_is_a_start_error_in_time(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.WorkerStartError):
        Pool(
            write_app(tmp_path, "os.closerange(3, 1024)"),
            workers=1,
            timeouts=Timeouts(start=10),
            sandbox="none",
        )
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(1000)",
        "while True: pass",
        "threading.Event().wait()",
        "signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))\nwhile True: pass",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "ctypes.PyDLL(None).pause()",
        "os.setsid() if os.getpid() != os.getsid(0) else None\ntime.sleep(1000)",
    ],
)
def test_an_app_that_hangs_at_import_is_killed_at_the_start_timeout(
    tmp_path: Path, body: str
) -> None:
    before = descendants(os.getpid())
    begin = time.monotonic()
    with pytest.raises(errors.WorkerStartError, match="not ready in time"):
        Pool(write_app(tmp_path, body), workers=1, timeouts=Timeouts(start=1.0), sandbox="none")
    assert 0.9 < time.monotonic() - begin < 15
    assert wait_gone(descendants(os.getpid()) - before, 5) == set()


@pytest.mark.parametrize(
    "body",
    [
        "if os.fork() == 0:\n    time.sleep(1000)",
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)",
        "if os.fork() == 0:\n    os._exit(0)",
        "os.closerange(0, 3)",
        "sys.stdout = sys.stderr = sys.stdin = None",
        "os.close(0)\nos.open('/dev/null', os.O_RDONLY)",
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "sys.path.clear()",
        "sys.setrecursionlimit(60)",
        "print('x' * 1_000_000)",
    ],
)
def test_an_app_that_does_something_odd_at_import_still_answers(tmp_path: Path, body: str) -> None:
    before = descendants(os.getpid())
    with Pool(write_app(tmp_path, body), workers=1, output="drop", sandbox="none") as pool:
        assert pool.call("add", 1, 2) == 3
        assert pool.submit("add", 1, 2).result(DEADLINE) == 3
        family = descendants(os.getpid()) - before
    assert wait_gone(family, 5) == set()


def test_a_forked_child_of_the_import_that_runs_on_into_our_code_answers_nothing(
    tmp_path: Path,
) -> None:
    """Both processes come back from the import; only the worker may speak."""
    with Pool(
        write_app(tmp_path, "born = os.getpid()\nos.fork()"), workers=1, sandbox="none"
    ) as pool:
        pids = {pool.call("pid") for _ in range(50)}
        assert pids == {worker.pid for worker in pool.workers()}


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("no_such_module_anywhere:app", errors.WorkerStartError, "no_such_module_anywhere"),
        ("json:no_such_attribute", errors.WorkerStartError, "no_such_attribute"),
        ("json:dumps.nothing", errors.WorkerStartError, "nothing"),
        ("/no/such/file.py", FileNotFoundError, "no such file"),
        ("not a module", ValueError, "module:attribute"),
        ("", ValueError, "module:attribute"),
        (":app", ValueError, "module:attribute"),
        ([], TypeError, "non-empty list"),
        (5, TypeError, "int"),
        (None, TypeError, "NoneType"),
        ([1, 2], TypeError, "list"),
    ],
)
def test_a_target_that_cannot_be_is_refused_by_name(
    target: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        Pool(target, workers=1, sandbox="none")  # type: ignore[arg-type]
    assert words in chain(caught.value)


@pytest.mark.parametrize("python", ["/bin/true", "/bin/false", "/bin/sh", "/bin/cat"])
def test_an_interpreter_that_is_none_is_a_start_error(tmp_path: Path, python: str) -> None:
    with pytest.raises(errors.WorkerStartError):
        Pool(
            write_app(tmp_path, ""),
            workers=1,
            python=python,
            timeouts=Timeouts(start=5),
            sandbox="none",
        )


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such executable"):
        Pool(write_app(tmp_path, ""), workers=1, python="/no/such/python", sandbox="none")


def test_an_interpreter_that_cannot_be_executed_is_a_start_error(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(errors.WorkerStartError):
        Pool(write_app(tmp_path, ""), workers=1, python=script, sandbox="none")


@pytest.mark.no_sanitizer("a limit on address space")
def test_a_worker_killed_while_it_starts_costs_no_call(tmp_path: Path) -> None:
    """One death from outside is no reason to give up those who wait."""
    flag = tmp_path / "first"
    body = (
        f"if not os.path.exists({str(flag)!r}):\n"
        f"    open({str(flag)!r}, 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    app = write_app(tmp_path, "")
    with Pool(app, workers=1, start_method="exec", sandbox="none") as pool:
        write_app(tmp_path, body)
        os.kill(pool.call("pid"), signal.SIGKILL)
        futures = [pool.submit("add", n, 1) for n in range(10)]
        assert [future.result(DEADLINE) for future in futures] == list(range(1, 11))
        assert pool.call("add", 1, 2) == 3
    assert flag.exists()


def test_an_app_that_breaks_later_fails_those_who_wait_and_heals_when_it_is_mended(
    tmp_path: Path,
) -> None:
    app = write_app(tmp_path, "")
    with Pool(app, workers=1, start_method="exec", sandbox="none") as pool:
        write_app(tmp_path, "raise ValueError('a bad deploy')")
        os.kill(pool.call("pid"), signal.SIGKILL)
        with pytest.raises(errors.WorkerStartError) as caught:
            while True:
                pool.call("add", 1, 2)
        assert "a bad deploy" in chain(caught.value)
        write_app(tmp_path, "")
        limit = time.monotonic() + DEADLINE
        while True:
            try:
                assert pool.call("add", 1, 2) == 3
                break
            except errors.WorkerStartError:
                assert time.monotonic() < limit


def test_failing_starts_are_tried_ever_more_seldom(tmp_path: Path) -> None:
    app = write_app(tmp_path, "")
    with Pool(app, workers=1, start_method="exec", sandbox="none") as pool:
        write_app(tmp_path, "raise ValueError('a bad deploy')")
        os.kill(pool.call("pid"), signal.SIGKILL)
        limit = time.monotonic() + 2.0
        while time.monotonic() < limit:
            with pytest.raises(errors.WorkerStartError):
                pool.call("add", 1, 2)
        assert pool.stats()["start_failures"] <= 8


def test_nothing_of_a_failed_open_lives_on(tmp_path: Path) -> None:
    before = descendants(os.getpid())
    with pytest.raises(errors.WorkerStartError):
        Pool(
            write_app(tmp_path, "if os.fork(): raise ValueError\nos.setsid(); time.sleep(1000)"),
            workers=1,
            sandbox="none",
        )
    left = {pid for pid in descendants(os.getpid()) - before if not is_gone(pid)}
    assert left == set()
