"""What one scrape of a pool's metrics costs: `python -m benchmarks.scrape --workers 64`.

Idle workers, a registry with nothing but the pool's collector. CPU time of the scraping thread is
shown beside the time that passed: what else runs on the machine does not enter it as much.
"""

from __future__ import annotations

import argparse
import statistics
import time

from prometheus_client import CollectorRegistry, generate_latest

from pyproc import Pool
from pyproc.metrics import Collector


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--scrapes", type=int, default=200)
    options = parser.parse_args()
    passed, used = [], []
    size = 0
    with Pool("json:dumps", min_workers=options.workers, max_workers=options.workers) as pool:
        registry = CollectorRegistry()
        registry.register(Collector(pool))
        while pool.stats()["workers_idle"] < options.workers:
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(options.scrapes):
            begun, spent = time.perf_counter(), time.thread_time()
            size = len(generate_latest(registry))
            passed.append((time.perf_counter() - begun) * 1e3)
            used.append((time.thread_time() - spent) * 1e3)
    print(
        f"{options.workers} workers, {size} bytes: passed min {min(passed):.1f}, "
        f"median {statistics.median(passed):.1f} ms; CPU min {min(used):.1f}, "
        f"median {statistics.median(used):.1f} ms"
    )


if __name__ == "__main__":
    main()
