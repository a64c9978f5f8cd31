"""Sends mutated client messages to a daemon for as long as wanted, and says what became of it.

    python tests/server/mutate.py --frames 1000000 --seed 7

Good sequences of a client's frames with a few bytes changed, cut, doubled or swapped; half of the
connections are greeted first. Meanwhile a good client calls: each of its answers must be right.
The server's memory is printed at the start and at the end. Run it on a sanitised build too.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from named import Raw, call, field, frame, hello  # noqa: E402

import pyproc  # noqa: E402
from pyproc.server import Server  # noqa: E402

NUMBER = b"\x09" + struct.pack("<Q", 3)
# fmt: off
GOOD = [
    hello(),
    hello(b"ops"),
    frame(22, field(1, b"p" * 32)),
    call(1, b"double", b"\x91\x02"),
    call(2, b"echo", b"\x91\x82\xa1a\x01\xa1b\x93\x01\x02\xa3abc"),
    frame(26, NUMBER + field(2, 5) + field(5, 7)) + call(3, b"double", b"\x91\x02"),
    frame(27, NUMBER + field(2, 1)),
    frame(3, NUMBER + field(2, b"numbers") + field(3, b"\x91\x09") + field(4, 1) + field(10, 2)
          + field(11, 64)),
    frame(13, NUMBER + field(2, 9) + field(3, 4096)),
    frame(14, NUMBER),
    frame(9, field(1, 5)),
    frame(10, field(1, 5)),
]
# fmt: on


def mutate(seed: random.Random) -> tuple[bytes, int]:
    """Some frames, and how many they are, with a few changes."""
    parts = seed.choices(GOOD, k=seed.randrange(1, 12))
    data = bytearray(b"".join(parts))
    for _ in range(seed.randrange(1, 4)):
        at = seed.randrange(len(data))
        way = seed.randrange(8)
        if way < 5:
            data[at] = seed.randrange(256)
        elif way == 5:
            del data[at : at + seed.randrange(1, 9)]
        elif way == 6:
            data[at:at] = data[at : at + seed.randrange(1, 40)]
        else:
            data[at:at] = seed.randbytes(seed.randrange(1, 20))
        if not data:
            data += b"\0"
    return bytes(data), len(parts)


def resident() -> int:
    """KiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def main() -> int:
    """0 when every answer was right and nothing was left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3600)
    asked = parser.parse_args()
    seed = random.Random(asked.seed)
    # A sanitizer's runtime must come first in the workers too.
    names = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")
    runtime = {name: os.environ[name] for name in names if name in os.environ}
    sent = connections = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        pyproc.Pool(str(HERE / "apps" / "served.py"), workers=2, env=runtime) as pool,
        Server(pool, f"{folder}/run/s.sock") as server,
        pyproc.connect(f"{folder}/run/s.sock") as client,
    ):
        path = Path(folder) / "run" / "s.sock"
        until = time.monotonic() + asked.seconds
        at_start = 0
        while sent < asked.frames and time.monotonic() < until:
            data, count = mutate(seed)
            with Raw(path) as raw:
                try:
                    if seed.random() < 0.5:
                        raw.send(hello() + data)
                    else:
                        raw.send(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass
            sent += count
            connections += 1
            if connections % 1000 == 0:
                assert client.call("double", connections) == 2 * connections
            if connections == 5000:
                at_start = resident()
        assert client.call("double", 4) == 8
        quiet = time.monotonic() + 30
        while server.stats()["clients"] > 1 or server.stats()["calls_running"]:
            assert time.monotonic() < quiet, server.stats()
            time.sleep(0.05)
        stats = server.stats()
        assert stats["held_bytes"] == 0, stats
        print(f"{sent} frames on {connections} connections; {stats['invalid']} were invalid")
        print(f"resident: {at_start} KiB after 5000 connections, {resident()} KiB at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
