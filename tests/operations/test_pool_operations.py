"""Pool(rate=, audit=): calls are let through at a rate, and what happens stands in a log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyproc import (
    AuditError,
    AuditLog,
    FunctionIsolated,
    Limits,
    MemoryLimitExceeded,
    Pool,
    QueueFull,
    Rate,
    RateLimited,
    UnknownFunction,
    ValidationError,
    WorkerCrashed,
    WorkerStartError,
)
from pyproc.audit.verify import read, verify

DEADLINE = 30.0


def events_of(log: str, name: str) -> list[dict[str, Any]]:
    """The lines of one kind."""
    return [line for line in read(log) if line["event"] == name]


def wait_for(condition: Callable[[], object]) -> None:
    """Waits for what another thread does."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


# ---- rates ----


def test_more_calls_than_the_rate_are_refused_with_the_time_to_wait(app: str) -> None:
    with Pool(app, workers=1, rate={"double": Rate(calls=0.01, burst=2)}) as pool:
        assert [pool.call("double", n) for n in (1, 2)] == [2, 4]
        with pytest.raises(RateLimited) as caught:
            pool.call("double", 3)
        assert caught.value.function == "double"
        assert 0 < caught.value.retry_after <= 100
        with pytest.raises(RateLimited):
            pool.submit("double", 3).result(DEADLINE)
        with pytest.raises(RateLimited):
            asyncio.run(pool.acall("double", 3))
        assert pool.call("nap", 0) == 0  # no rule of its own
        assert pool.stats()["calls_rate_limited"] == 3
        assert pool.stats()["calls_admitted"] == 3


def test_a_rate_may_count_by_key_or_for_the_whole_pool(app: str) -> None:
    with Pool(app, workers=1, rate=Rate(calls=0.01, burst=1, by="key")) as pool:
        for key in ("ann", "bob"):
            assert pool.options(key=key).call("double", 1) == 2
            with pytest.raises(RateLimited):
                pool.options(key=key).call("nap", 0)
    with Pool(app, workers=1, rate=Rate(calls=0.01, burst=1, by="pool")) as pool:
        pool.call("double", 1)
        with pytest.raises(RateLimited):
            pool.call("nap", 0)


def test_a_map_waits_for_its_turn(app: str) -> None:
    with Pool(app, workers=1, rate={"double": Rate(calls=40, burst=1)}) as pool:
        begun = time.monotonic()
        assert list(pool.map("double", range(9))) == [2 * n for n in range(9)]
        assert time.monotonic() - begun > 0.15


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0, "Rate.calls=0: more than 0"),
        ("fast", "calls a second, or a pyproc.Rate"),
        ({"": 1}, "no name or glob"),
    ],
)
def test_a_wrong_rate_is_named(app: str, rate: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        Pool(app, workers=1, rate=rate)


@pytest.mark.parametrize(("calls", "burst"), [(1, 0.5), (1, -1), (float("inf"), None)])
def test_a_rate_that_lets_nothing_through_is_refused(calls: float, burst: float | None) -> None:
    with pytest.raises(ValueError, match=r"Rate\."):
        Rate(calls=calls, burst=burst)


# ---- isolation ----


def test_an_isolated_function_is_refused_until_it_is_released(app: str) -> None:
    with Pool(app, workers=1) as pool:
        pool.isolate("double")
        with pytest.raises(FunctionIsolated):
            pool.call("double", 1)
        with pytest.raises(FunctionIsolated):
            pool.submit("double", 1).result(DEADLINE)
        assert [type(r) for r in pool.map("double", [1], return_exceptions=True)] == [
            FunctionIsolated
        ]
        assert pool.call("nap", 0) == 0
        assert (pool.isolated(), pool.stats()["functions_isolated"]) == (["double"], 1)
        pool.release("double")
        assert pool.call("double", 1) == 2


# ---- the audit log ----


def test_a_pools_life_stands_in_its_log(app: str) -> None:
    with Pool(app, workers=1, audit="a.jsonl") as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("die", 1, why="nothing-of-this")
        with pytest.raises(ValidationError):
            pool.call("double", "nothing-of-this")
        with pytest.raises(UnknownFunction):
            pool.submit("missing").result(DEADLINE)
        with pytest.raises(ValueError, match="nothing"):
            pool.call("fail", "nothing-of-this")
        pool.isolate("double")
        with pytest.raises(FunctionIsolated):
            asyncio.run(pool.acall("double", 1))
    assert verify("a.jsonl").verdict == "integrity only"
    names = [line["event"] for line in read("a.jsonl")]
    for name in ("log.start", "pool.open", "worker.start", "worker.ready", "worker.death",
                 "worker.stop", "isolate", "pool.close", "log.stop"):  # fmt: skip
        assert name in names
    assert "signal 6" in events_of("a.jsonl", "worker.death")[0]["detail"]
    invalid = events_of("a.jsonl", "request.invalid")
    assert [(line["function"], line["error"]) for line in invalid] == [
        ("double", "ValidationError"), ("missing", "UnknownFunction"),
    ]  # fmt: skip
    assert events_of("a.jsonl", "request.refused")[0]["error"] == "FunctionIsolated"
    assert "nothing-of-this" not in Path("a.jsonl").read_text()


def test_a_limit_stands_in_the_log_with_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "hog.py").write_text(
        "import pyproc, time\n@pyproc.expose\ndef hog(n: int) -> int:\n"
        "    held = [bytearray(b'x' * 2**20) for _ in range(n)]\n    time.sleep(60)\n"
    )
    log = str(tmp_path / "a.jsonl")
    limits = Limits(memory="16MiB")
    with Pool(tmp_path / "hog.py", workers=1, audit=log, limits=limits) as pool:
        with pytest.raises(MemoryLimitExceeded):
            pool.call("hog", 64)
        wait_for(lambda: events_of(log, "worker.death"))
    line = events_of(log, "limit")[0]
    assert (line["error"], line["function"], line["limit"]) == (
        "MemoryLimitExceeded", "hog", 16 * 2**20,
    )  # fmt: skip
    assert events_of(log, "worker.death")[0]["detail"].startswith("memory")


def test_an_application_that_cannot_be_imported_leaves_a_line_without_its_secret(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('password=hunter2')\n")
    with pytest.raises(WorkerStartError):
        Pool(tmp_path / "broken.py", workers=1, audit=tmp_path / "a.jsonl")
    line = events_of(str(tmp_path / "a.jsonl"), "worker.start_failed")[0]
    assert "hunter2" not in line["detail"]
    assert verify(str(tmp_path / "a.jsonl")).verdict == "integrity only"


def test_calls_are_refused_while_the_log_cannot_be_written(
    app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    with Pool(app, workers=1, audit="a.jsonl") as pool:
        assert pool.call("double", 1) == 2
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda fd, data, at: real(fd, b"", at))
            with pytest.raises(UnknownFunction):
                pool.call("missing")  # its line is the first that finds no room
            with pytest.raises(AuditError, match="no call is made"):
                pool.call("double", 1)
            assert pool.stats()["audit_failing"] == 1
        wait_for(lambda: not _is_refused(pool))
    assert verify("a.jsonl").verdict == "integrity only"


def _is_refused(pool: Pool) -> bool:
    try:
        pool.call("double", 1)
    except AuditError:
        return True
    return False


def test_two_pools_share_one_log(app: str) -> None:
    log = AuditLog("a.jsonl", fsync="never")
    with Pool(app, workers=1, audit=log) as one, Pool(app, workers=1, audit=log) as two:
        assert one.call("double", 1) + two.call("double", 2) == 6
    assert len(events_of("a.jsonl", "pool.open")) == 2
    assert len(events_of("a.jsonl", "log.start")) == 1
    assert verify("a.jsonl").verdict == "integrity only"


def test_a_log_that_cannot_be_written_opens_no_pool(app: str) -> None:
    with pytest.raises(AuditError, match="cannot be opened"):
        Pool(app, workers=1, audit="no/such/directory/a.jsonl")
    with pytest.raises(TypeError, match="a path or a pyproc.AuditLog"):
        Pool(app, workers=1, audit=3)  # type: ignore[arg-type]


def test_a_call_that_a_full_queue_refuses_is_in_the_log(app: str) -> None:
    with Pool(app, workers=1, max_queue=1, audit="a.jsonl") as pool:
        busy = pool.submit("nap", 600.0)
        wait_for(lambda: pool.stats()["calls_running"] == 1)
        with pytest.raises(QueueFull):
            for number in range(10):
                pool.submit("double", number)
        busy.kill()
    (line,) = events_of("a.jsonl", "request.refused")
    assert (line["function"], line["error"]) == ("double", "QueueFull")
