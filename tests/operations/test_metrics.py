"""Pool.latency(), and the Prometheus collector: what they tell is what happened."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import python_path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pyproc import Latency, Pool, RateLimited, WorkerCrashed, connect
from pyproc.metrics import Collector
from pyproc.server import Server

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0


def scrape(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, labels) -> value of what Prometheus would read."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, pool: str = "default", **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return f"pyproc_{name}", tuple(sorted({"pool": pool, **labels}.items()))


def registry_of(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_call_is_counted_with_the_time_that_it_ran_and_that_it_waited(app: str) -> None:
    with Pool(app, workers=1) as pool:
        before = pool.latency()
        assert isinstance(before, Latency)
        assert (before.run.count, before.wait.count) == (0, 0)
        assert len(before.run.counts) == len(before.bounds) + 1
        assert list(before.bounds) == sorted(before.bounds)
        first, second = pool.submit("nap", 0.3), pool.submit("nap", 0)
        assert (first.result(DEADLINE), second.result(DEADLINE)) == (0.3, 0)
        after = pool.latency()
        assert (after.run.count, after.wait.count) == (2, 2)
        assert 0.3 <= after.run.sum < DEADLINE
        slow = [bound >= 0.3 for bound in after.bounds] + [True]
        assert sum(n for n, is_slow in zip(after.run.counts, slow, strict=True) if is_slow) >= 1


def test_the_ends_of_calls_are_counted_by_how_they_ended(app: str) -> None:
    with Pool(app, workers=2) as pool:
        registry = registry_of(Collector(pool))
        assert [pool.call("double", n) for n in range(3)] == [0, 2, 4]
        with pytest.raises(ValueError, match="wrong"):
            pool.call("fail", "wrong")
        with pytest.raises(WorkerCrashed):
            pool.call("die")
        wait_for(lambda: scrape(registry)[key("workers_died_total")] == 1)
        found = scrape(registry)
        assert found[key("calls_total", result="ok")] == 3
        assert found[key("calls_total", result="failed")] == 1
        assert found[key("calls_total", result="crashed")] == 1
        assert found[key("calls_admitted_total")] == 5
        assert found[key("call_seconds_count")] == 5
        assert found[key("call_seconds_bucket", le="+Inf")] == 5
        assert found[key("queue_wait_seconds_count")] == 5


def test_buckets_grow_with_their_bound_as_prometheus_wants(app: str) -> None:
    with Pool(app, workers=1) as pool:
        for _ in range(20):
            pool.call("double", 1)
        found = scrape(registry_of(Collector(pool)))
        buckets = sorted(
            (float(dict(labels)["le"]), value)
            for (name, labels), value in found.items()
            if name == "pyproc_call_seconds_bucket"
        )
        assert len(buckets) == 21
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (float("inf"), 20)


def test_what_is_under_way_and_the_workers_states_are_shown(app: str) -> None:
    with Pool(app, workers=1) as pool:
        registry = registry_of(Collector(pool))
        futures = [pool.submit("nap", 1.0), pool.submit("double", 1)]
        wait_for(lambda: scrape(registry)[key("workers", state="busy")] == 1)
        found = scrape(registry)
        assert found[key("calls_running")] + found[key("calls_waiting")] == 2
        assert [future.result(DEADLINE) for future in futures] == [1.0, 2]
        wait_for(lambda: scrape(registry)[key("workers", state="ready")] == 1)
        assert scrape(registry)[key("up")] == 1


def test_memory_and_cpu_time_of_workers_come_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import os, time\n"
        "import pyproc\n"
        "app = pyproc.App()\n"
        "@app.expose\n"
        "def spin(seconds: float) -> float:\n"
        "    end = time.process_time() + seconds\n"
        "    while time.process_time() < end:\n"
        "        pass\n"
        "    return seconds\n"
        "@app.expose\n"
        "def die() -> None:\n"
        "    os.abort()\n"
    )
    with Pool(str(tmp_path / "busy.py"), workers=1) as pool:
        registry = registry_of(Collector(pool))
        pool.call("spin", 0.3)
        found = scrape(registry)
        used = found[key("workers_cpu_seconds_total")]
        assert 0.25 <= used < DEADLINE
        assert found[key("workers_resident_bytes")] >= 1 << 20
        assert found[key("worker_resident_bytes_max")] == found[key("workers_resident_bytes")]
        with pytest.raises(WorkerCrashed):
            pool.call("die")
        pool.call("spin", 0.1)
        # It is a counter: a worker that has ended takes none of its time along.
        assert scrape(registry)[key("workers_cpu_seconds_total")] >= used + 0.05


def test_the_audit_log_and_rates_are_shown_when_the_pool_has_them(app: str) -> None:
    with Pool(app, workers=1) as plain, Pool(app, workers=1, audit="audit.jsonl", rate=1) as full:
        registry = registry_of(Collector({"plain": plain, "full": full}))
        full.call("double", 1)
        with pytest.raises(RateLimited):
            for _ in range(100):
                full.call("double", 1)
        found = scrape(registry)
        assert found[key("calls_rate_limited_total", "full")] == 1
        assert found[key("audit_written_total", "full")] > 0
        assert found[key("audit_failing", "full")] == 0
        assert key("audit_written_total", "plain") not in found
        assert found[key("calls_total", "plain", result="ok")] == 0


def test_a_closed_pool_goes_on_telling_what_it_counted(app: str) -> None:
    pool = Pool(app, workers=1)
    registry = registry_of(Collector(pool))
    pool.call("double", 1)
    pool.close()
    found = scrape(registry)
    assert found[key("up")] == 0
    assert found[key("calls_total", result="ok")] == 1
    assert all(value == 0 for (name, _), value in found.items() if name == "pyproc_workers")


def test_a_server_adds_its_clients(app: str, tmp_path: Path) -> None:
    path = tmp_path / "run" / "docs.sock"
    with Pool(app, workers=1) as pool, Server(pool, path) as server:
        registry = registry_of(Collector(pool, server=server))
        with connect(str(path)) as client:
            assert client.call("double", 2) == 4
            assert scrape(registry)["pyproc_server_clients", ()] == 1
        found = scrape(registry)
        assert found["pyproc_server_connections_total", ()] == 1
        assert found["pyproc_server_authentication_failed_total", ()] == 0
        server.close()
        assert ("pyproc_server_clients", ()) not in scrape(registry)


def test_the_same_metrics_twice_in_a_registry_are_refused(app: str) -> None:
    with Pool(app, workers=1) as pool:
        registry = registry_of(Collector(pool))
        with pytest.raises(ValueError, match="Duplicated"):
            registry.register(Collector(pool))
        registry.register(Collector(pool, prefix="docs"))
        assert ("docs_up", (("pool", "default"),)) in scrape(registry)


@pytest.mark.parametrize(
    ("pools", "prefix", "error"),
    [
        (3, "pyproc", "Collector\\(3\\)"),
        ({}, "pyproc", "names to Pools"),
        ({"a": 3}, "pyproc", "'a' is no Pool but int"),
        (None, "pyproc", "Collector\\(None\\)"),
    ],
)
def test_what_is_no_pool_is_named(pools: object, prefix: str, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        Collector(pools, prefix=prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "a-b", "1a", "a b", "a\n"])
def test_a_prefix_that_is_no_name_is_refused(prefix: str, app: str) -> None:
    with Pool(app, workers=1) as pool, pytest.raises(ValueError, match="prefix="):
        Collector(pool, prefix=prefix)


def test_without_prometheus_client_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('not here')\n")
    code = (
        "import pyproc.metrics\n"
        "try:\n"
        "    pyproc.metrics.Collector(None)\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": python_path(tmp_path, ROOT)},
    )  # fmt: skip
    assert "pip install 'pyproc-native[metrics]'" in done.stdout, done.stderr
