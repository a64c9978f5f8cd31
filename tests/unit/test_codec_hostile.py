"""Hostile bytes into the codec: a value or a CodecError, never more than the bytes are worth."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from typing import Any

import pytest

from pyproc import codec
from pyproc._worker import DEPTH, pack_plain, scan, unpack
from pyproc.errors import CodecError, ItemFailure

SAMPLES: list[Any] = [
    *(None, 2**64 - 1, 2**80, 1.5, "text", "\ud800", b"bytes", 1 + 2j, bytearray(b"x")),
    *([1, [2, {"a": (3,)}]], {(1, 2): {4}}, frozenset({1}), {"k" * 40: ["v" * 300]}),
    *(decimal.Decimal("1.5"), uuid.UUID(int=7), dt.date(1, 1, 1), dt.time(1, 2, fold=1)),
    *(dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.timedelta(-3, 5, 7)),
]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff" + b"\xc0" * 100,
        b"\xc6\xff\xff\xff\xff",
        b"\xc0\xc0",
        b"\xa1\xff",
        b"\xd4\x01\xc0",  # a tuple that holds no array
        b"\xc7\x03\x01\x92\xc0\xc0\xc0",  # bytes after the tuple's extension
        b"\xc7\x02\x01\x92\xc0\xc0",  # a tuple longer than its extension
        b"\xc7\x04\x01\x91\xc0\xc0\xc0",  # and one shorter
        b"\xc7\x02\x02\x91\x90",  # a set of a list
        b"\x81\x80\xc0",  # a dict with a dict as key
        b"\xd4\x63\x00",  # an unknown extension
        b"\xd4\xff\x00",
        b"\xc7\x01\x10",
        b"\xd4\x12\x00",  # a short UUID
        b"\xc7\x03\x11abc",  # no Decimal
        b"\xc7\x04\x15abcd",
        b"\xd4\x04\x90",  # a failure inside a value
        b"\x91" * (DEPTH + 1) + b"\xc0",
        b"\x91" * 5_000_000 + b"\xc0",
        b"\xdd\x00\x0f\x42\x40" * 200_000,  # every header claims what follows again
    ],
    ids=lambda payload: payload[:6].hex(),
)
def test_bytes_that_are_no_value_are_refused(payload: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_value(payload, codec.RICH)
    with pytest.raises(CodecError):
        codec.decode_trusted(payload, codec.RICH)


def test_a_plain_payload_may_have_no_extension() -> None:
    payload, _ = codec.encode_value((1,))
    with pytest.raises(CodecError):
        codec.decode_value(payload, codec.MSGPACK)
    with pytest.raises(CodecError):
        codec.decode_value(payload, codec.PICKLE)


def test_nested_tuples_up_to_the_limit_are_a_value_or_an_error() -> None:
    payload = b"\xc0"
    for _ in range(DEPTH // 2):
        payload = b"\xc9" + (len(payload) + 1).to_bytes(4, "big") + b"\x01\x91" + payload
    try:
        value = codec.decode_value(payload, codec.RICH)
    except CodecError:
        return  # the stack of the caller is the tighter bound
    assert isinstance(value, tuple)


def test_many_values_come_apart_and_failures_only_stand_at_the_top() -> None:
    failure = b"\xc7\x01\x04\x90"
    data = b"".join([codec.encode_value((1,))[0], failure, b"\xc0"])
    first, second, third = codec.decode_many(data, codec.RICH, 3)
    assert (first, third) == ((1,), None)
    assert isinstance(second, ItemFailure)
    for count, bad in ((2, data), (4, data), (1, b"\x91" + failure), (2**40, b"")):
        with pytest.raises(CodecError):
            codec.decode_many(bad, codec.RICH, count)
    assert codec.decode_many(b"", codec.MSGPACK, 0) == []


def test_mutated_payloads_are_a_value_or_a_codec_error() -> None:
    source = random.Random(5)
    samples = [codec.encode_value(value)[0] for value in SAMPLES]
    decoded = refused = 0
    for _ in range(20_000):
        data = bytearray(source.choice(samples))
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(data) + 1)
            data[at : at + source.randint(0, 2)] = source.choice(
                [b"\xdd\xff\xff\xff\xff", b"\xc9", bytes([source.randrange(256)]), b""]
            )
        payload = bytes(data)
        for decode in (codec.decode_value, codec.decode_trusted):
            try:
                decode(payload, codec.RICH)
                decoded += 1
            except CodecError:
                refused += 1
    assert decoded > 1000
    assert refused > 1000


def test_the_c_functions_check_their_arguments() -> None:
    wrong: list[tuple[Any, tuple[Any, ...]]] = [
        (pack_plain, ()),
        (unpack, ("text",)),
        (unpack, ()),
        (scan, (b"", -1, 0)),
        (scan, (b"", 1)),
    ]
    for function, args in wrong:
        with pytest.raises((TypeError, OverflowError)):
            function(*args)
