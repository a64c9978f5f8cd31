"""What a call through a named socket costs, and whether clients share fairly.

    python benchmarks/served.py [--cpu 0] [--clients 1000] [--active 100] [--seconds 5]

Prints the median of `pool.call` and of the same call by a client in another process, their ratio,
and how many answers the least and the most served of the active clients got. A report of what it
saw; it judges nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyproc
from pyproc.server import Server

APP = Path(__file__).resolve().parents[1] / "tests" / "server" / "apps" / "served.py"
CALLS = 5000
ONE_CLIENT = """
import statistics, sys, time, pyproc
with pyproc.connect(sys.argv[1]) as client:
    times = []
    for n in range(int(sys.argv[2])):
        begun = time.perf_counter_ns()
        client.call("double", n)
        times.append(time.perf_counter_ns() - begun)
print(statistics.median(times[500:]))
"""
MANY_CLIENTS = """
import sys, threading, time, pyproc
path, clients, active, seconds = sys.argv[1], *map(float, sys.argv[2:])
held = [pyproc.connect(path) for _ in range(int(clients))]
done = [0] * int(active)
worst = [0.0] * int(active)
until = time.monotonic() + seconds
def run(at):
    while time.monotonic() < until:
        begun = time.monotonic()
        held[at].call("sleep", 0.001)
        worst[at] = max(worst[at], time.monotonic() - begun)
        done[at] += 1
threads = [threading.Thread(target=run, args=(at,)) for at in range(int(active))]
for thread in threads: thread.start()
for thread in threads: thread.join()
for client in held: client.close(0)
print(min(done), max(done), sum(done), max(worst))
"""


def median_of_pool(pool: pyproc.Pool) -> float:
    """Nanoseconds of a call on the pool itself."""
    times = []
    for number in range(CALLS):
        begun = time.perf_counter_ns()
        pool.call("double", number)
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times[500:])


def other(program: str, *arguments: object) -> list[float]:
    """The numbers that a client's process prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return [float(word) for word in done.stdout.split()]


def main() -> int:
    """Prints it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--active", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    asked = parser.parse_args()
    if asked.cpu is not None:
        os.sched_setaffinity(0, {asked.cpu})
    with (
        tempfile.TemporaryDirectory() as folder,
        pyproc.Pool(str(APP), workers=2) as pool,
        Server(pool, f"{folder}/run/s.sock"),
    ):
        path = f"{folder}/run/s.sock"
        for _ in range(5):
            own = median_of_pool(pool)
            (served,) = other(ONE_CLIENT, path, CALLS)
            print(f"pool {own / 1e3:.1f} us, served {served / 1e3:.1f} us: {served / own:.2f}x")
        least, most, calls, worst = other(
            MANY_CLIENTS, path, asked.clients, asked.active, asked.seconds
        )
        print(
            f"{asked.clients} clients, {asked.active} active: {calls:.0f} calls, from {least:.0f} "
            f"to {most:.0f} a client ({most / max(1, least):.2f}x), worst {worst * 1e3:.0f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
