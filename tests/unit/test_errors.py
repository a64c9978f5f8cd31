"""Ends and failures as exceptions: classes, facts, text, chains, pickling, hostile words."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from typing import Any

import pytest

from pyproc import codec, errors


def node(
    type_name: str, message: str = "", *, relation: int = 0, parent: int = 0, **more: Any
) -> Any:
    """A failure's node as the core hands it over."""
    args = more.get("args", [message])
    arguments = b"" if args is None else codec.encode_value(args)[0]
    attributes = codec.encode_value(more["attributes"])[0] if "attributes" in more else b""
    trace = more.get("traceback", f'Traceback (most recent call last):\n  File "{type_name}.py"\n')
    head = (relation, parent, type_name, message, trace)
    return (*head, arguments, attributes, tuple(more.get("notes", ())), more.get("suppress", False))


def rebuild(*nodes: Any, kind: int = errors.KIND_EXCEPTION, path: str = "") -> Any:
    return errors.from_failure(kind, list(nodes), path, "extract", 7)


# ---- failures ----


def test_a_builtin_comes_back_as_itself_with_its_arguments_and_the_remote_traceback() -> None:
    raised = rebuild(node("KeyError", "'a'", args=["a", 2]))
    assert type(raised).__name__ == "KeyError"
    assert raised.args == ("a", 2)
    assert "KeyError.py" in raised.remote_traceback
    text = "".join(traceback.format_exception(raised))
    assert 'File "KeyError.py"' in text
    assert text.index("RemoteTraceback") < text.index("direct cause")


@pytest.mark.parametrize(
    "name",
    [
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "BaseException",
        "StopIteration",
        "StopAsyncIteration",
        "docs.Custom",
        "print",
        "__import__",
        "",
    ],
)
def test_everything_else_is_a_remote_error(name: str) -> None:
    raised = rebuild(node(name, "text", attributes={"code": 3}))
    assert type(raised) is errors.RemoteError
    assert (raised.type_name, raised.message) == (name, "text")
    assert raised.attributes == {"code": 3}
    assert str(raised) == f"{name}: text"


def test_attributes_that_args_do_not_carry_are_set() -> None:
    missing = rebuild(node("FileNotFoundError", args=[2, "no"], attributes={"filename": "/x"}))
    assert str(missing) == "[Errno 2] no: '/x'"
    module = rebuild(node("ModuleNotFoundError", args=["no"], attributes={"name": "m"}))
    assert module.name == "m"
    tagged = rebuild(node("ValueError", attributes={"code": 1, "__cause__": 2, "args": 3}))
    assert tagged.code == 1
    assert tagged.args == ("",)


def test_causes_contexts_and_notes_are_rebuilt() -> None:
    raised = rebuild(
        node("TypeError", "third", notes=["look here"]),
        node("ValueError", "second", relation=errors.RELATION_CAUSE),
        node("KeyError", "first", relation=errors.RELATION_CONTEXT, parent=1),
    )
    assert type(raised.__cause__) is ValueError
    assert type(raised.__cause__.__context__) is KeyError
    assert raised.__notes__ == ["look here"]
    text = raised.remote_traceback
    first, second, third = (text.index(word) for word in ("first", "second", "third"))
    assert first < text.index("During handling") < second < text.index("direct cause") < third
    assert "look here" in text
    assert all(
        hasattr(each, "remote_traceback")
        for each in (raised.__cause__, raised.__cause__.__context__)
    )


def test_a_context_that_was_suppressed_stays_so() -> None:
    raised = rebuild(
        node("ValueError", "out", suppress=True),
        node("KeyError", "in", relation=errors.RELATION_CONTEXT),
    )
    assert raised.__suppress_context__
    assert "KeyError" not in raised.remote_traceback


def test_groups_are_rebuilt_with_their_members() -> None:
    raised = rebuild(
        node("ExceptionGroup", "several", args=None),
        node("ValueError", "one", relation=errors.RELATION_MEMBER),
        node("BaseExceptionGroup", "inner", relation=errors.RELATION_MEMBER),
        node("SystemExit", "two", relation=errors.RELATION_MEMBER, parent=2),
    )
    assert type(raised).__name__ == "ExceptionGroup"
    one, inner = raised.exceptions
    assert type(one) is ValueError
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[0], errors.RemoteError)
    assert "1 of 2" in raised.remote_traceback


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        (errors.KIND_VALIDATION, errors.ValidationError),
        (errors.KIND_CODEC, errors.CodecError),
        (errors.KIND_UNKNOWN, errors.UnknownFunction),
        (errors.KIND_TOO_LARGE, errors.ResultTooLarge),
    ],
)
def test_each_kind_of_refusal_has_its_class(kind: int, cls: type[Exception]) -> None:
    raised = rebuild(
        node(f"pyproc.{cls.__name__}", "words", traceback="", args=None),
        kind=kind,
        path="result[3]",
    )
    assert type(raised).__name__ == cls.__name__
    assert str(raised) == "words"
    assert raised.__cause__ is None
    if kind in (errors.KIND_VALIDATION, errors.KIND_CODEC):
        assert raised.path == "result[3]"
    if kind == errors.KIND_UNKNOWN:
        assert raised.function == "extract"


def test_a_failed_start_is_the_applications_own_exception_or_our_refusal() -> None:
    own = rebuild(node("ImportError", "no numpy"), kind=errors.KIND_START)
    assert type(own) is ImportError
    ours = node("pyproc.WorkerStartError", "there is no App", traceback="", args=None)
    assert type(rebuild(ours, kind=errors.KIND_START)) is errors.WorkerStartError


@pytest.mark.parametrize(
    "hostile",
    [
        node("UnicodeDecodeError", args=["utf-8", 3, "x"]),
        node("UnicodeDecodeError", args=["utf-8", b"x", -(2**62), 2**62, "y"]),
        node("SyntaxError", args=["x", ("f", "not a line", 1, "t")]),
        node("SyntaxError", args=["x", 3]),
        node("OSError", args=[{}, [], 3, 4, 5, 6, 7]),
        node("ExceptionGroup", "m", args=["m", []]),
        node("ValueError", "x" * 10_000_000, traceback="t" * 10_000_000),
        node("ValueError", notes=["n" * 100_000] * 1000),
        node("ImportError", attributes={"name": 3, "path": [], "__class__": 1}),
        (0, 0, "ValueError", "m", "t", b"\xc1", b"\xdd\xff\xff\xff\xff", (), False),
    ],
)
def test_hostile_words_make_an_exception_that_can_be_printed(hostile: Any) -> None:
    raised = rebuild(hostile)
    assert issubclass(raised.__class__, Exception)
    text = "".join(traceback.format_exception(raised))
    assert len(text) < 12_000_000
    assert len(raised.remote_traceback) <= 1024 * 1024


def test_a_chain_of_all_nodes_with_long_texts_stays_bounded() -> None:
    nodes = [node("ValueError", "m" * 60_000)]
    nodes += [
        node("ValueError", "m" * 60_000, relation=errors.RELATION_CAUSE, parent=at)
        for at in range(400)
    ]
    raised = rebuild(*nodes)
    assert len(raised.remote_traceback) <= 1024 * 1024


def test_parents_that_are_no_tree_do_no_harm() -> None:
    raised = rebuild(
        node("ValueError"),
        node("KeyError", relation=errors.RELATION_CAUSE, parent=1),
        node("TypeError", relation=errors.RELATION_MEMBER, parent=9),
    )
    assert raised.__cause__.__class__ is errors.RemoteTraceback
    assert isinstance(rebuild(), errors.ProtocolError)


def test_a_failed_item_that_makes_no_sense_is_a_protocol_error() -> None:
    for payload in (b"", b"\xc0", b"\x93\x01\xa0\x90", b"\x93\x01\xa0\x91\x90"):
        assert isinstance(errors.ItemFailure(payload).exception("f", 1), errors.ProtocolError)


# ---- ends ----

FACTS: dict[str, Any] = {
    "pid": 4711,
    "worker_id": 2,
    "call_id": 9,
    "function": "extract",
    "age": 1.5,
    "tasks_done": 3,
    "cause": "signal",
    "stderr_tail": "line one\nline two\n",
    "python_stack": "Fatal Python error\n  File x in extract",
}


@pytest.mark.parametrize(
    ("end", "more", "cls", "words"),
    [
        (errors.END_CRASHED, {"signal": 11}, errors.WorkerCrashed, "crashed with SIGSEGV"),
        (errors.END_CRASHED, {"signal": 64}, errors.WorkerCrashed, "crashed with"),
        (errors.END_EXITED, {"exit_code": 3}, errors.WorkerExited, "exit code 3"),
        (errors.END_KILLED, {"signal": 9}, errors.WorkerKilled, "killed by SIGKILL"),
        (errors.END_RUN_TIMEOUT, {"limit": 2.0}, errors.TaskTimeout, "time limit of 2.0 s"),
        (errors.END_QUEUE_TIMEOUT, {}, errors.TaskTimeout, "never started"),
        (errors.END_TASK_KILLED, {}, errors.TaskKilled, "stopped on request"),
        (errors.END_PROTOCOL, {"text": "bad frame"}, errors.ProtocolError, "bad frame"),
        (errors.END_START, {"text": "exec: no"}, errors.WorkerStartError, "exec: no"),
    ],
)
def test_an_end_with_a_worker_is_a_sentence_and_its_facts(
    end: int, more: dict[str, Any], cls: type[Any], words: str
) -> None:
    raised: Any = errors.from_end(end, FACTS | more)
    assert type(raised) is cls
    assert words in str(raised)
    assert "line two" in str(raised)
    assert "in extract" in str(raised)
    assert (raised.pid, raised.worker_id, raised.function) == (4711, 2, "extract")
    assert raised.rusage is None
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is cls
    assert str(again) == str(raised)
    assert vars(again) == vars(raised)


@pytest.mark.parametrize(
    ("end", "cls"),
    [
        (errors.END_CLOSED, errors.PoolClosed),
        (errors.END_QUEUE_FULL, errors.QueueFull),
        (errors.END_TOO_LARGE, errors.ResultTooLarge),
        (errors.END_NESTED, errors.Error),
        (errors.END_INTERRUPTED, errors.Error),
        (99, errors.Error),
    ],
)
def test_an_end_without_a_worker_has_a_sentence_of_its_own(end: int, cls: type[Any]) -> None:
    raised = errors.from_end(end, {})
    assert type(raised) is cls
    assert len(str(raised)) > 15
    assert "what happened" in str(errors.from_end(end, {"text": "what happened"}))


def test_stages_and_bases_are_as_documented() -> None:
    run: Any = errors.from_end(errors.END_RUN_TIMEOUT, {})
    queue: Any = errors.from_end(errors.END_QUEUE_TIMEOUT, {})
    assert (run.stage, queue.stage) == ("run", "queue")
    assert isinstance(run, TimeoutError)
    assert issubclass(errors.ValidationError, ValueError)
    assert issubclass(errors.UnknownFunction, LookupError)
    assert issubclass(errors.WorkerCrashed, errors.WorkerDied)


@pytest.mark.parametrize(
    "raised",
    [
        errors.ValidationError("m", "argument 'page'"),
        errors.CodecError("m", "result[2]"),
        errors.RemoteError("docs.E", "m", "text"),
        errors.UnknownFunction("m"),
    ],
)
def test_every_error_can_be_pickled(raised: Exception) -> None:
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is type(raised)
    assert (again.args, vars(again)) == (raised.args, vars(raised))


def test_importing_the_errors_imports_nothing_else() -> None:
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import pyproc.errors; "
        "print(sorted(m for m in ('typing', 're', 'msgspec', 'signal') if m in sys.modules))"
    )
    root = errors.__file__.rpartition("/pyproc/")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, root], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
