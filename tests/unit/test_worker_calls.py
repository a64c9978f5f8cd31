"""Calls to one real worker: arguments, annotations, results, limits, recall."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import wire
from wire import Child

from pyproc import codec, errors


def test_values_and_keywords_reach_the_function(child: Child) -> None:
    assert child.result("echo", {"a": [1, None]}) == {"a": [1, None]}
    assert child.result("echo", 1, (2,), x={3}) == [1, ((2,),), {"x": {3}}]
    assert child.result("typed", b"x", scale=2, page=5) == "b'x' 5 2.0"


def test_simple_unions_pass_and_convert(child: Child) -> None:
    assert child.result("optional", None, "x", 2) == [None, "x", 2.0]
    assert child.failure("optional", "x")[0] == errors.KIND_VALIDATION
    assert child.failure("optional", 1, 1)[0] == errors.KIND_VALIDATION


def test_rich_annotations_are_rebuilt(child: Child) -> None:
    given = [{"name": "a", "size": 2}]
    assert child.result("rows", given, colour="red", mode="b") == [2, "RED", "b"]
    assert child.result("several", 1, 2, a="b") == [[1, 2], {"a": "b"}]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "path"),
    [
        ("typed", ("text",), {}, "argument 'data'"),
        ("typed", (b"", "1"), {}, "argument 'page'"),
        ("typed", (b"", True), {}, "argument 'page'"),
        ("typed", (b"",), {"scale": "x"}, "argument 'scale'"),
        ("rows", ([{"name": "a"}, {"name": 1}],), {}, "argument 'rows'[1].name"),
        ("rows", ([],), {"mode": "c"}, "argument 'mode'"),
        ("several", (1, 2, "x"), {}, "argument 2"),
        ("several", (), {"a": 1}, "argument 'a'"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_and_the_function_never_runs(
    child: Child, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], path: str
) -> None:
    kind, nodes = child.failure(function, *args, **kwargs)
    assert (kind, child.path) == (errors.KIND_VALIDATION, path)
    assert nodes[0].message.startswith(path)
    assert child.result("count_seen") == 0


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [
        ((), {}, "missing 1 required positional argument: 'data'"),
        ((b"", 1, 2), {}, "takes from 1 to 2 positional arguments but 3"),
        ((b"",), {"zoom": 1}, "unexpected keyword argument 'zoom'"),
        ((b"",), {"data": b""}, "multiple values for argument 'data'"),
    ],
)
def test_a_wrong_number_or_name_of_arguments_is_pythons_own_type_error(
    child: Child, args: tuple[Any, ...], kwargs: dict[str, Any], word: str
) -> None:
    kind, nodes = child.failure("typed", *args, **kwargs)
    assert (kind, nodes[0].type_name) == (errors.KIND_EXCEPTION, "TypeError")
    assert word in nodes[0].message


def test_an_annotation_that_cannot_be_resolved_is_said(child: Child) -> None:
    kind, nodes = child.failure("unresolved", 1)
    assert (kind, nodes[0].type_name) == (errors.KIND_EXCEPTION, "TypeError")
    assert "NotHere" in nodes[0].message


def test_annotated_results_are_checked_and_converted(child: Child) -> None:
    assert child.result("make_rows", 2) == [{"name": "a", "size": 1}, {"name": "b", "size": 2}]
    assert child.failure("make_rows", "x")[0] == errors.KIND_VALIDATION
    assert child.path == "result[1].size"
    assert child.failure("wrong_result")[0] == errors.KIND_VALIDATION
    assert child.path == "result"
    assert child.result("point") == (1, 2)


def test_numpys_numbers_are_floats_where_an_annotation_says_float(child: Child) -> None:
    if importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    assert child.result("mean") == 1.5
    assert type(child.result("mean")) is float
    assert child.result("means") == {"a": [1.5, 2.0]}


def test_coroutine_functions_are_awaited_on_one_loop(child: Child) -> None:
    assert child.result("asynchronous", 1) == 2
    assert child.failure("asynchronous", "x")[0] == errors.KIND_VALIDATION
    kind, nodes = child.failure("asynchronous_failure")
    assert (kind, nodes[0].type_name) == (errors.KIND_EXCEPTION, "KeyError")
    assert "asyncio" not in nodes[0].traceback
    assert child.result("leave_task_behind") == [1, 0]
    assert child.result("leave_task_behind") == [1, 1]


def test_an_unknown_function_is_its_own_failure(child: Child) -> None:
    kind, nodes = child.failure("ecko")
    assert kind == errors.KIND_UNKNOWN
    assert "'ecko'" in nodes[0].message


@pytest.mark.parametrize(
    ("function", "path"),
    [("unencodable", "result['rows'][2]"), ("cyclic", "result[0]['again']"), ("deep", None)],
)
def test_a_result_that_cannot_be_carried_names_the_value(
    child: Child, function: str, path: str | None
) -> None:
    kind, _ = child.failure(function)
    assert kind == errors.KIND_CODEC
    assert path is None or child.path == path
    assert child.result("echo", 1) == 1


def test_a_generator_function_says_to_use_stream(child: Child) -> None:
    kind, nodes = child.failure("generator")
    assert (kind, nodes[0].type_name) == (errors.KIND_EXCEPTION, "TypeError")
    assert "use stream(" in nodes[0].message


def test_a_result_over_the_limit_names_both_sizes() -> None:
    with Child() as child:
        wire.open_app(child, max_result=1000)
        assert child.result("big", 998 - 2) == b"x" * 996
        kind, nodes = child.failure("big", 2000)
        assert kind == errors.KIND_TOO_LARGE
        assert "2003 bytes" in nodes[0].message
        assert "1000" in nodes[0].message
        kind, nodes = child.failure("echo", ("x" * 2000,))
        assert kind == errors.KIND_TOO_LARGE


def test_a_payload_that_makes_no_sense_is_a_codec_failure(child: Child) -> None:
    for payload, kind in ((b"\x91", 1), (b"\xc0", 1), (b"\x91\xd4\x63\x00", 2), (b"\x90\x90", 1)):
        child.send_payload("echo", payload, kind)
        got, fields = child.receive()
        assert (got, wire.one(fields, 2)) == (wire.FAILURE, errors.KIND_CODEC)


def test_a_large_answer_and_many_calls_ahead_do_not_block_each_other(child: Child) -> None:
    data = b"x" * 200_000
    frames = b""
    for number in range(1, 41):
        payload, kind, _ = codec.encode_arguments((data,), {})
        fields = {1: wire.Fixed(number), 2: "echo", 3: payload, 4: kind}
        frames += wire.frame(wire.CALL, fields)
    child.call.sendall(frames[: len(frames) // 8])
    child.call.setblocking(False)
    sent, answers = len(frames) // 8, 0
    received = b""
    import select

    while answers < 40:
        wanted = [child.call] if sent < len(frames) else []
        readable, writable, _ = select.select([child.call], wanted, [], wire.DEADLINE)
        assert readable or writable
        if writable:
            sent += child.call.send(frames[sent : sent + 65536])
        if readable:
            received += child.call.recv(1 << 20)
        while len(received) >= 4 and len(received) >= 4 + int.from_bytes(received[:4], "big"):
            received = received[4 + int.from_bytes(received[:4], "big") :]
            answers += 1
    child.call.setblocking(True)
    assert not received


def test_a_recalled_call_is_given_back_unrun_and_marked_as_seen(child: Child) -> None:
    child.set_control(recall_from=2)
    assert child.result("echo", 1) == 1
    call = child.send_call("crash")
    assert child.receive() == (wire.RETURNED, {1: [call.to_bytes(8, "little")]})
    assert child.started() == call
    child.set_control(recall_from=wire.NO_RECALL)
    assert child.result("echo", 3) == 3
