"""Chunks in one real worker: item by item, and what is left when it dies in the middle."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import wire
from wire import Child

from pyproc import codec, errors


def send_chunk(child: Child, function: str, items: list[Any]) -> int:
    payload, kind = codec.encode_items(items)
    return child.send_payload(function, payload, kind, items=len(items))


def run_chunk(child: Child, function: str, items: list[Any]) -> list[Any]:
    """Every item's answer, parts and all, each exactly once and in order."""
    send_chunk(child, function, items)
    answers: list[Any] = []
    while True:
        kind, fields = child.receive()
        assert kind in (wire.PART, wire.RESULT), [wire.Node(n).message for n in fields.get(3, [])]
        base, count, payload = (5, 6, 2) if kind == wire.RESULT else (2, 3, 4)
        assert wire.one(fields, base) == len(answers)
        data = wire.one(fields, payload, b"")
        answers += codec.decode_many(data, codec.RICH, wire.one(fields, count))
        if kind == wire.RESULT:
            return answers


def test_a_chunk_answers_item_by_item(child: Child) -> None:
    assert run_chunk(child, "echo", [1, "a", (2,), None]) == [1, "a", (2,), None]
    assert child.area()[:3] == (1, 0, 4)


def test_failed_items_stand_between_the_others(child: Child) -> None:
    answers = run_chunk(child, "fail_odd", [0, 1, 2, 3])
    assert answers[0] == (0,)
    assert answers[2] == (2,)
    raised: Any = answers[3].exception("fail_odd")
    assert type(raised).__name__ == "ValueError"
    assert raised.args == (3,)
    assert "fail_odd" in raised.remote_traceback


def test_items_larger_than_the_area_and_many_of_them_come_as_parts(child: Child) -> None:
    sizes = [10, 300_000, 5, 200_000, 100_000, 262_080, 0, 262_000, 1]
    assert [len(answer) for answer in run_chunk(child, "sized", sizes)] == sizes


def test_an_item_that_does_not_fit_its_annotation_or_the_limit_fails_alone() -> None:
    with Child() as child:
        wire.open_app(child, max_result=10_000)
        answers = run_chunk(child, "sized", [1, "x", 20_000, 2])
        assert (answers[0], answers[3]) == (b"x", b"xx")
        assert isinstance(answers[1].exception(), errors.ValidationError)
        assert isinstance(answers[2].exception(), errors.ResultTooLarge)


def test_answers_before_a_death_are_in_memory_that_the_host_has(child: Child) -> None:
    call = send_chunk(child, "exit_at", list(range(8)))
    with pytest.raises(EOFError):
        child.receive()
    assert child.wait() == 9
    found, base, count, data = child.area()
    assert (found, base) == (call, 0)
    assert codec.decode_many(data, codec.RICH, count) == [0, 10, 20]


def test_answers_before_a_death_are_complete_across_parts(child: Child) -> None:
    send_chunk(child, "crash_at_large", list(range(20)))
    answers: list[Any] = []
    for kind, fields in wire.until_the_end(child):
        assert kind == wire.PART
        assert wire.one(fields, 2) == len(answers)
        answers += codec.decode_many(wire.one(fields, 4), codec.RICH, wire.one(fields, 3))
    assert child.wait() == -signal.SIGKILL
    _, base, count, data = child.area()
    assert base == len(answers)
    answers += codec.decode_many(data, codec.RICH, count)
    assert answers == [b"%d" % item * 50_000 for item in range(9)]


def test_a_chunk_whose_payload_has_another_number_of_items_is_refused(child: Child) -> None:
    payload, kind = codec.encode_items([1, 2])
    child.send_payload("echo", payload, kind, items=3)
    got, fields = child.receive()
    assert (got, wire.one(fields, 2)) == (wire.FAILURE, errors.KIND_CODEC)


def test_a_forked_copy_adds_nothing_to_a_chunk(child: Child) -> None:
    assert run_chunk(child, "fork_at", list(range(5))) == list(range(5))
