"""The interactive interpreter: functions typed there, and ^C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import DEADLINE, descendants, wait_gone

pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")


class Repl:
    """`python -i`; lines go in, lines come out. One thread."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHON_COLORS": "0", "PYTHON_BASIC_REPL": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-i", "-q", "-u"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, bufsize=1, cwd=folder, env=environment,
        )  # fmt: skip
        self.type("import signal, time, pyproc")
        self.type("_ = signal.signal(signal.SIGINT, signal.default_int_handler)")

    def type(self, text: str) -> None:
        """Types lines."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def expect(self, text: str) -> None:
        """Reads until a line has `text`; the test's own time limit ends it otherwise."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return
        pytest.fail(f"the interpreter ended before it said {text!r}:\n{''.join(seen)}")


@pytest.fixture
def repl(tmp_path: Path) -> Iterator[Repl]:
    """An interactive interpreter, ended with all that it started."""
    shell = Repl(tmp_path)
    yield shell
    below = descendants(shell.process.pid)
    shell.process.kill()
    shell.process.communicate()
    assert wait_gone(below) == set()


def test_functions_that_were_typed_run_and_are_followed_when_typed_again(repl: Repl) -> None:
    repl.type("executor = pyproc.Executor(1)")
    for sign in "", "-":
        repl.type(f"def price(n):\n    print('here')\n    return {sign}2 * n\n")
        repl.type("print('price', executor.submit(price, 21).result())")
        repl.expect("here")
        repl.expect(f"price {sign}42")


@pytest.mark.parametrize("source", ["pool.call('hang')", "list(pool.map('hang', [1, 2]))"])
def test_an_interrupt_brings_back_the_prompt_and_the_pool_is_usable(
    repl: Repl, source: str
) -> None:
    repl.type("def hang(n=0):\n    print('hanging', flush=True)\n    time.sleep(600)\n")
    repl.type("def twice(n): return 2 * n\n")
    repl.type("pool = pyproc.Pool([hang, twice], workers=1)")
    repl.type(source)
    repl.expect("hanging")
    repl.process.send_signal(signal.SIGINT)
    repl.expect("KeyboardInterrupt")
    repl.type("print('answer', pool.call('twice', 2))")
    repl.expect("answer 4")


def test_leaving_the_interpreter_with_a_pool_open_leaves_no_process(repl: Repl) -> None:
    repl.type("def twice(n): return 2 * n\n")
    repl.type("pool = pyproc.Pool([twice], workers=2); print('open', pool.call('twice', 2))")
    repl.expect("open 4")
    below = descendants(repl.process.pid)
    assert below
    repl.type("exit()")
    assert repl.process.wait(DEADLINE) == 0
    assert wait_gone(below) == set()
