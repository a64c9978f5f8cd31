"""Writes the seeds in corpus/: the golden messages and a few streams of frames.

Run after golden.h changed: `python tests/fuzz/make_corpus.py`. Every seed is small; the
fuzzer finds the rest.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "core" / "golden" / "golden.h"
FROM_HOST = (
    "hello", "hello_least", "call", "goodbye", "stream_credit", "cancel", "memory_grant",
    "memory_refusal",
)  # fmt: skip
FROM_CLIENT = ("client_hello", "authenticate", "call_options", "revoke")
FROM_SERVER = ("server_hello", "welcome", "welcome_least", "denied", "call_end", "call_end_least")
VECTOR = re.compile(r"golden_(\w+)\[\] = \{([^}]*)\}")


def golden_bodies() -> dict[str, bytes]:
    """Name -> body of every golden message."""
    found = VECTOR.findall(GOLDEN.read_text())
    return {name: bytes(int(word, 16) for word in text.split(",")[:-1]) for name, text in found}


def sender(name: str) -> int:
    """Who sends the message of this golden body: 0 the host, 1 a worker, 2 a client, 3 a server."""
    if name in FROM_CLIENT:
        return 2
    if name in FROM_SERVER:
        return 3
    return 0 if name.startswith("call") or name in FROM_HOST else 1


def frame(body: bytes) -> bytes:
    """One frame."""
    return len(body).to_bytes(4, "big") + body


def streams(bodies: dict[str, bytes]) -> dict[str, bytes]:
    """Name -> input of fuzz_frame: limit exponent, two bytes of cutting, stream."""
    every = b"".join(frame(body) for body in bodies.values())
    return {
        "every": b"\x0c\x00\x00" + every,
        "every_cut": b"\x0c\x12\x34" + every[:-3],
        "tiny": b"\x00\x01\x02" + frame(b"a") * 20,
        "too_long": b"\x04\x00\x01" + frame(b"good") + frame(b"x" * 17),
        "empty": b"\x04\x00\x01" + frame(b"good") + frame(b""),
        "other_protocol": b"\x13\x00\x01PY\x00\x01{}",
        "growing": b"\x10\x05\x06" + b"".join(frame(b"y" * n) for n in (1, 30, 900, 5000, 2)),
    }


def write(folder: Path, seeds: dict[str, bytes]) -> None:
    """Makes the folder hold these seeds only."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in seeds:
            path.unlink()
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed)


def values() -> dict[str, bytes]:
    """Name -> payload of fuzz_plain: MessagePack, good and broken."""
    return {
        "map": b"\x83\xa1a\x01\xa1b\xa4text\xa1c\xcb?\xf0" + bytes(6),
        "numbers": b"\x96\x7f\xe0\xcc\xff\xcd\x12\x34\xd3" + b"\xff" * 8 + b"\xcf" + b"\xff" * 8,
        "nested": b"\x91" * 40 + b"\xc0",
        "bytes": b"\x92\xc4\x03abc\xd9\x04\xc3\xa9ab",
        "claims": b"\xdd\xff\xff\xff\xff\xc0",
        "tuple": b"\xc7\x03\x01\x92\x01\x02",
        "same_keys": b"\x92\x81\xa3key\x01\x81\xa3key\x02",
        "bad_key": b"\x81\x91\x01\x02",
    }


if __name__ == "__main__":
    golden = golden_bodies()
    write(
        HERE / "corpus" / "message",
        {name: bytes([sender(name)]) + body for name, body in golden.items()},
    )
    write(HERE / "corpus" / "frame", streams(golden))
    write(HERE / "corpus" / "plain", values())
    write(
        HERE / "corpus" / "payload",
        {name: bytes([at, 0, 0]) + body for at, (name, body) in enumerate(values().items())},
    )
