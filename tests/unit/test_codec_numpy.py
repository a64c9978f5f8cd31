"""numpy's arrays and scalars through the codec, and what hostile bytes may not make of them."""

from __future__ import annotations

from typing import Any

import pytest

from pyproc import codec
from pyproc.errors import CodecError

np = pytest.importorskip("numpy")

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.array(3.5),
    np.zeros((0, 3)),
    np.zeros((2, 0), "u1"),
    np.array([True, False]),
    np.array(["a", "bcä"]),
    np.array([b"a", b""]),
    np.array(["2020-01-01", "NaT"], "M8[D]"),
    np.array([1, 2], "m8[25us]"),
    np.arange(3, dtype=">i4"),
    np.arange(12.0).reshape(3, 4)[::2, ::-1],
    np.asfortranarray(np.arange(6, dtype="f2").reshape(2, 3)),
    np.arange(4, dtype="c8"),
    np.zeros((1,) * 32),
]
SCALARS = [
    np.float64(1.5),
    np.float16(2),
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.bool_(True),
    np.str_("ä"),
    np.bytes_(b"x"),
    np.datetime64("2020-01-01T01:02"),
    np.complex64(1j),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}"[:30])
def test_arrays_come_back_equal_with_dtype_shape_and_room_to_write(value: Any) -> None:
    payload, kind = codec.encode_value([value])
    backs: list[Any] = [codec.decode_value(payload, kind), codec.decode_trusted(payload, kind)]
    for (back,) in backs:
        assert type(back) is np.ndarray
        assert (back.dtype, back.shape) == (value.dtype, value.shape)
        assert back.tobytes() == value.tobytes()
        assert back.flags.writeable


@pytest.mark.parametrize("value", SCALARS, ids=lambda s: str(s.dtype))
def test_scalars_come_back_equal_and_of_their_type(value: Any) -> None:
    payload, kind = codec.encode_value(value)
    assert kind == codec.RICH
    for back in (codec.decode_value(payload, kind), codec.decode_trusted(payload, kind)):
        assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, "g"),
        np.zeros(2, "V3"),
        np.ma.masked_array([1], [True]),
        np.recarray(1, [("a", "i4")]),
    ],
    ids=lambda a: f"{type(a).__name__} {a.dtype}",
)
def test_arrays_of_other_things_are_refused_with_their_path(value: Any) -> None:
    with pytest.raises(CodecError) as caught:
        codec.encode_value({"a": [value]})
    assert caught.value.path == "result['a'][0]"


def array(dtype: bytes, shape: tuple[int, ...], data: bytes, code: int = 26) -> bytes:
    """The payload of an array as a worker might make it up."""
    body = bytes([len(dtype)]) + dtype + bytes([len(shape)])
    body += b"".join(size.to_bytes(8, "big") for size in shape) + data
    return b"\xc9" + len(body).to_bytes(4, "big") + bytes([code]) + body


@pytest.mark.parametrize(
    "payload",
    [
        array(b"|O", (1,), b"x" * 8),
        array(b"|O8", (1,), b"x" * 8),
        array(b"|V8", (1,), b"x" * 8),
        array(b"<f16", (1,), b"x" * 16),
        array(b"<i8,<i8", (1,), b"x" * 16),
        array(b"(2,)i4", (1,), b"x" * 8),
        array(b"<i8", (2,), b"x" * 8),
        array(b"<i8", (2**63, 2), b""),
        array(b"<i8", (2**61, 8), b""),
        array(b"<i8", (0, 2**63), b""),
        array(b"<i8", (1,) * 33, b"x" * 8),
        array(b"<i8", (2**64 - 1,), b"x" * 8),
        array(b"<U0", (5,), b""),
        array(b"<U999999999", (1,), b"x" * 4),
        array(b"<U1", (1,), b"\xff\xff\xff\xff"),
        array(b"|b1", (2,), b"\x00\x02"),
        array(b"<M8[zz]", (1,), b"x" * 8),
        array(b"<f8[s]", (1,), b"x" * 8),
        array(b"<f8", (1,), b"x" * 8, code=27),
        array(b"", (), b""),
        b"\xc7\x00\x1a",
        b"\xc7\x02\x1a\xff<",
        b"\xc7\x05\x1a\x03<f8\xff",
    ],
    ids=lambda payload: payload[6:24].hex(),
)
def test_made_up_arrays_are_refused(payload: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_value(payload, codec.RICH)
