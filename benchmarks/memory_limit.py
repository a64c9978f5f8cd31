"""How far beyond Limits(memory=) a worker gets at full speed: `python -m benchmarks.memory_limit`.

The peak is the kernel's: resident pages at most (ru_maxrss) at death, less those at the start.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import statistics
import threading
from collections.abc import Callable
from pathlib import Path

import pyproc

MIB = 1 << 20
app = pyproc.App()


def _fill(memory: mmap.mmap, start: int, size: int) -> None:
    """By libc, which gives up the GIL: nothing is slower than it has to be."""
    ctypes.memset((ctypes.c_char * size).from_buffer(memory, start), 1, size)


def _private(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def small_pages(size: int) -> None:
    memory = _private(size)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    _fill(memory, 0, size)


def huge_pages(size: int) -> None:
    memory = _private(size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    _fill(memory, 0, size)


def shared_mapping(size: int) -> None:
    _fill(mmap.mmap(-1, size), 0, size)


def two_threads(size: int) -> None:
    memory = _private(size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    half = size // 2
    threads = [threading.Thread(target=_fill, args=(memory, at, half)) for at in (0, half)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


WAYS: dict[str, Callable[[int], None]] = {
    way.__name__: way for way in (small_pages, huge_pages, shared_mapping, two_threads)
}


@app.expose
def take(way: str, size: int) -> None:
    WAYS[way](size)


def one(pool: pyproc.Pool, way: str, cap: int) -> int:
    """Bytes beyond the start."""
    before = {worker.pid: worker.rss for worker in pool.workers()}
    try:
        pool.call("take", way, 4 * cap)
    except pyproc.MemoryLimitExceeded as error:
        if error.pid is None or error.peak_rss is None:
            raise SystemExit(f"{way}: the kernel refused it before it could be measured") from error
        return error.peak_rss - before[error.pid]
    raise SystemExit(f"{way}: nobody stopped it")


def measure(cap: int, runs: int) -> None:
    bound = cap + max(cap // 10, 64 * MIB)
    print(f"cap {cap // MIB} MiB, bound {bound // MIB} MiB, {runs} runs each")
    print("| pages | median peak | worst peak | below the bound |")
    print("|---|---|---|---|")
    limits = pyproc.Limits(memory=cap)
    with pyproc.Pool(Path(__file__), workers=1, limits=limits) as pool:
        for way in WAYS:
            peaks = []
            for _ in range(runs):
                pool.call("take", way, MIB)
                peaks.append(one(pool, way, cap))
            worst = max(peaks)
            median = statistics.median(peaks)
            print(
                f"| {way.replace('_', ' ')} | {median / MIB:.0f} MiB | {worst / MIB:.0f} MiB "
                f"| {'yes' if worst < bound else 'NO'} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cap", type=int, default=256, help="MiB")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    measure(options.cap * MIB, options.runs)


if __name__ == "__main__":
    main()
