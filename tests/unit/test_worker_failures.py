"""What user code raises, at its worst: the host always gets a bounded failure, the worker lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import wire
from wire import Child

from pyproc import codec, errors


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    """One worker for all: that it goes on is part of each test."""
    with Child() as started:
        wire.open_app(started, "failing_app:app")
        yield started


def fail(child: Child, how: str) -> list[wire.Node]:
    """The nodes of a failure, after which the worker must still answer."""
    kind, nodes = child.failure("fail", how)
    assert kind == errors.KIND_EXCEPTION
    assert child.result("echo", how) == how
    return nodes


def rebuild(nodes: list[wire.Node]) -> Any:
    return errors.from_failure(1, [node.tuple() for node in nodes], "", "fail", 1)


def test_a_builtin_comes_with_arguments_and_only_the_users_frames(child: Child) -> None:
    nodes = fail(child, "value")
    assert (nodes[0].type_name, nodes[0].message) == ("ValueError", "('bad value', 3)")
    assert codec.decode_value(nodes[0].arguments, codec.RICH) == ["bad value", 3]
    lines = nodes[0].traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "failing_app.py" in lines[1]
    assert "raise MAKERS[how]()" in lines[2]
    assert "pyproc/worker" not in nodes[0].traceback


def test_attributes_that_args_do_not_carry_come_along(child: Child) -> None:
    raised = rebuild(fail(child, "file"))
    assert type(raised) is FileNotFoundError
    assert (raised.errno, raised.filename) == (2, "/nonexistent/file")
    custom = rebuild(fail(child, "custom"))
    assert type(custom) is errors.RemoteError
    assert (custom.type_name, custom.message) == ("failing_app.Custom", "3: odd")
    assert custom.attributes == {"code": 3}


@pytest.mark.parametrize(
    ("how", "type_name"),
    [
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("generator_exit", "GeneratorExit"),
        ("base", "BaseException"),
        ("memory", "MemoryError"),
        ("stop", "StopIteration"),
        ("recursion", "RecursionError"),
        ("unicode", "UnicodeDecodeError"),
    ],
)
def test_every_kind_of_exception_is_a_failure_of_the_call(
    child: Child, how: str, type_name: str
) -> None:
    nodes = fail(child, how)
    assert nodes[0].type_name == type_name
    assert isinstance(rebuild(nodes), Exception)


@pytest.mark.parametrize("how", ["bad_text", "no_text"])
def test_an_exception_whose_text_raises_is_named_all_the_same(child: Child, how: str) -> None:
    nodes = fail(child, how)
    assert nodes[0].message == "<exception str() failed>"
    assert nodes[0].type_name.startswith("failing_app.")


def test_arguments_that_cannot_be_carried_are_left_out(child: Child) -> None:
    nodes = fail(child, "lock")
    assert nodes[0].arguments == b""
    assert type(rebuild(nodes)) is errors.RemoteError


def test_causes_and_contexts_are_linked(child: Child) -> None:
    chain = fail(child, "chain")
    assert [node.type_name for node in chain] == ["TypeError", "ValueError", "KeyError"]
    assert [node.relation for node in chain] == [0, errors.RELATION_CAUSE, errors.RELATION_CAUSE]
    raised = rebuild(chain)
    assert type(raised.__cause__.__cause__) is KeyError
    context = fail(child, "context")
    assert [node.relation for node in context] == [0, errors.RELATION_CONTEXT]


def test_a_cycle_of_causes_and_a_long_chain_end(child: Child) -> None:
    assert [node.message for node in fail(child, "cycle")] == ["a", "b"]
    assert len(fail(child, "long_chain")) == 256


def test_groups_keep_their_members(child: Child) -> None:
    nodes = fail(child, "group")
    assert [node.relation for node in nodes] == [0, 3, 3, 3]
    raised = rebuild(nodes)
    assert isinstance(raised, ExceptionGroup)
    assert raised.message == "several"
    assert type(raised.exceptions[0]) is ValueError
    inner = raised.exceptions[1]
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[0], errors.RemoteError)


def test_notes_of_any_type_are_text(child: Child) -> None:
    assert fail(child, "noted")[0].notes == ["plain", "7", "<note repr() failed>"]
    assert fail(child, "odd_notes")[0].notes == ["12"]


def test_gigantic_texts_are_cut(child: Child) -> None:
    nodes = fail(child, "wide")
    assert len(nodes) == 2
    sizes = [len(node.message) + sum(map(len, node.notes)) for node in nodes]
    assert all(len(node.message) <= 64 * 1024 for node in nodes)
    assert sum(sizes) <= 1024 * 1024
    assert "characters ...]" in nodes[0].message


def test_text_that_utf8_cannot_hold_is_escaped(child: Child) -> None:
    assert fail(child, "nul")[0].message == "a\\x00b\\ud800"
