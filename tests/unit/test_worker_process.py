"""One real worker over real descriptors: calls, chunks, recall, and user code at its worst."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import wire
from wire import Child

from pyproc import codec, errors

# ---- hello and goodbye ----


def test_hello_is_answered_with_the_interpreter_and_the_functions() -> None:
    with Child() as child:
        kind, fields = child.hello(wire.ATTRIBUTE, wire.APP, path=[str(wire.APPS), *sys.path])
        infos = [wire.unpack(info) for info in fields[5]]
        signatures = {wire.one(i, 1).decode(): wire.one(i, 2).decode() for i in infos}
        assert kind == wire.HELLO_REPLY
        assert wire.one(fields, 2).decode() == ".".join(map(str, sys.version_info[:3]))
        assert wire.one(fields, 3).decode() == sys.prefix
        wanted = "(data: bytes, page: int = 0, *, scale: float = 1.0) -> str"
        assert signatures["typed"] == wanted
        assert signatures["echo"] == "(value=None, *rest, **named)"


def test_goodbye_and_the_hosts_end_both_end_the_worker_with_code_0(child: Child) -> None:
    child.send(wire.GOODBYE, {})
    assert child.wait() == 0
    with Child() as other:
        wire.open_app(other)
        other.call.close()
        assert other.wait() == 0


def test_start_hooks_have_run_once_before_the_first_call(child: Child) -> None:
    assert child.result("start_count") == 1


def test_the_worker_of_a_simple_app_imports_nothing_heavy() -> None:
    with Child() as child:
        wire.open_app(child, "light_app:app")
        assert child.result("add", 1, b=2) == 3
        heavy = set(child.result("heavy_modules"))
    # What an environment's own .pth files import is not ours.
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert heavy - set(bare.stdout.split()) == set()


def test_user_code_sees_neither_our_bootstrap_nor_our_path(child: Child) -> None:
    names, argv, first = child.result("main_names")
    assert "_start" not in names
    assert argv == [""]
    assert first == str(wire.APPS)


def test_ping_is_answered(child: Child) -> None:
    child.send(wire.PING, {1: 77})
    assert child.receive() == (wire.PONG, {1: [77]})


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x05junk!",
        wire.frame(wire.HELLO, {1: 1, 2: 4096, 4: 1}),
        wire.frame(wire.RESULT, {1: wire.Fixed(1), 2: b"\xc0", 3: 1}),
        wire.frame(wire.CALL, {2: "echo", 3: b"\x90", 4: 1}),
    ],
)
def test_garbage_from_the_host_ends_the_worker_with_a_sentence(
    child: Child, garbage: bytes
) -> None:
    child.call.sendall(garbage)
    assert child.wait() == 70
    assert "pyproc worker: the host sent a" in child.errors()


def test_a_torn_frame_and_the_hosts_end_are_a_quiet_end(child: Child) -> None:
    child.call.sendall(wire.frame(wire.PING, {1: 1})[:-1])
    child.call.close()
    assert child.wait() == 0


# ---- user code and the process ----


@pytest.mark.parametrize("function", ["fork_and_return", "fork_and_raise"])
def test_a_forked_copy_that_comes_back_leaves_without_a_word(child: Child, function: str) -> None:
    assert child.result(function) == 0
    assert child.result("echo", 1) == 1


def test_output_without_a_newline_comes_before_the_answer(child: Child) -> None:
    child.result("say", "half a line")
    assert os.read(child.out, 100) == b"half a line"


@pytest.mark.parametrize("function", ["close_standard", "replace_stdout", "close_small"])
def test_user_code_that_breaks_its_standard_streams_breaks_only_these(
    child: Child, function: str
) -> None:
    assert child.result(function) is None
    assert child.result("echo", [1]) == [1]
    child.send(wire.GOODBYE, {})
    assert child.wait() == 0


def test_writing_to_the_descriptors_a_worker_is_born_with_hits_none_of_ours(child: Child) -> None:
    kind, nodes = child.failure("say_to_all", [3])
    assert (kind, nodes[0].type_name) == (errors.KIND_EXCEPTION, "OSError")
    assert child.result("highest_free") == 3


def test_an_interrupt_ends_neither_an_idle_nor_a_busy_worker(child: Child) -> None:
    assert child.result("interrupt_self") == "alive"
    for _ in range(3):
        os.kill(child.pid, signal.SIGINT)
        assert child.result("echo", 2) == 2


def test_a_users_handler_that_exits_ends_an_idle_worker_with_its_code(child: Child) -> None:
    child.result("exit_on_term")
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == 5


def test_a_crash_leaves_pythons_stack_in_the_hosts_memory(child: Child) -> None:
    child.send_call("crash")
    with pytest.raises(EOFError):
        child.receive()
    assert child.wait() == -signal.SIGSEGV
    text = child.crash_text()
    assert "Segmentation fault" in text
    assert "in crash" in text


def test_exit_handlers_run_and_a_forgotten_thread_does_not_hold_the_worker(child: Child) -> None:
    child.result("at_exit", "bye")
    child.send(wire.GOODBYE, {})
    assert child.wait() == 0
    assert child.output() == "bye\n"
    with Child() as other:
        wire.open_app(other)
        other.result("leave_thread", 3600.0)
        other.send(wire.GOODBYE, {})
        assert other.wait() == 0


# ---- logs ----


def test_log_records_arrive_with_extra_and_exception(child: Child) -> None:
    call = child.send_call("log", "hi")
    kind, fields = child.receive()
    assert (kind, wire.one(fields, 4)) == (wire.RESULT, 2)
    first, second = child.log(), child.log()
    assert wire.one(first, 1) == 1
    assert wire.one(first, 2) == call.to_bytes(8, "little")
    assert wire.one(first, 3) == 30
    assert (wire.one(first, 4), wire.one(first, 5)) == (b"app.part", b"said hi")
    assert codec.decode_value(wire.one(first, 9), codec.RICH) == {"user": (1, 2)}
    assert b"KeyError: 'logged'" in wire.one(second, 7)
    assert b"in log" in wire.one(second, 7)


def test_a_full_event_channel_drops_records_and_never_blocks_the_call(child: Child) -> None:
    child.send_call("log_much", 3000)
    kind, fields = child.receive()
    assert kind == wire.RESULT
    taken = wire.one(fields, 4)
    assert 0 < taken < 3000
    for number in range(1, taken + 1):
        assert wire.one(child.log(), 1) == number
    child.result("log", "after")
    assert wire.one(child.log(), 8) == 3000 - taken
