"""Streams: small items a second, and what a slow reader costs in memory.

    python -m benchmarks.streams [--items 100000] [--rounds 5]

For each way the median of the rounds; and the growth of host and worker while an endless generator
waits for a reader that takes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from pyproc import App, Pool

app = App()


@app.expose
def count(number: int) -> Iterator[int]:
    """Items that cost nothing."""
    yield from range(number)


@app.expose
def records() -> Iterator[dict[str, int]]:
    """Never ends."""
    number = 0
    while True:
        number += 1
        yield {"number": number}


def listed(number: int) -> list[int]:
    """What a pool without streams would do: everything at once."""
    return list(range(number))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with Pool(app, workers=1) as pool:
        ways: dict[str, Callable[[int], int]] = {
            "pool.stream": lambda n: sum(1 for _ in pool.stream("count", n)),
            "pool.astream": lambda n: asyncio.run(_count(pool, n)),
            "pool.stream, buffersize=64": lambda n: sum(
                1 for _ in pool.options(buffersize=64).stream("count", n)
            ),
        }
        for name, way in ways.items():
            print(f"{name}: {_rate(way, options.items, options.rounds):,.0f} items/s")
        _show_memory(pool)
    with ProcessPoolExecutor(1) as executor:
        rate = _rate(
            lambda n: len(executor.submit(listed, n).result()), options.items, options.rounds
        )
        print(f"ProcessPoolExecutor, one list of all items: {rate:,.0f} items/s")


async def _count(pool: Pool, number: int) -> int:
    total = 0
    async for _ in pool.astream("count", number):
        total += 1
    return total


def _rate(way: Callable[[int], int], items: int, rounds: int) -> float:
    way(1)
    rates = []
    for _ in range(rounds):
        begin = time.perf_counter()
        assert way(items) == items
        rates.append(items / (time.perf_counter() - begin))
    return statistics.median(rates)


def _show_memory(pool: Pool) -> None:
    with pool.stream("records") as stream:
        next(stream)
        time.sleep(0.2)
        before = _rss(os.getpid()), _rss(pool.workers()[0].pid)
        for _ in range(20):  # a reader of 10 items a second
            next(stream)
            time.sleep(0.1)
        after = _rss(os.getpid()), _rss(pool.workers()[0].pid)
    grown = [(now - then) // 1024 for now, then in zip(after, before, strict=True)]
    print(f"a slow reader, 2 s: the host grew by {grown[0]} KiB, the worker by {grown[1]} KiB")


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
