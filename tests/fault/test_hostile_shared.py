"""A worker that lies about calls that run side by side is killed, and costs only these."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, errors

APPS = Path(__file__).parent / "apps"
DEADLINE = 60.0

KINDS = [
    "an answer to a call that was never made",
    "an answer to a call of long ago",
    "a chunk's part",
    "an item of a stream",
    "an end of a stream",
    "a call given back",
    "a cancel from a worker",
    "a pickled result",
]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    path = [str(APPS), *sys.path]
    with Pool(
        APPS / "hostile_shared.py", workers=1, path=path, max_in_flight=20, sandbox="none"
    ) as opened:
        yield opened


def wait_for_broken(pool: Pool, before: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while pool.stats()["protocol_errors"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert pool.call("rest", 0) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_breaks_a_rule_of_shared_calls_is_ended(pool: Pool, kind: str) -> None:
    before = pool.stats()["protocol_errors"]
    neighbour = pool.submit("rest", 600)
    for future in (pool.submit("misbehave", kind), neighbour):
        with pytest.raises(errors.ProtocolError):
            future.result(DEADLINE)
    wait_for_broken(pool, before)


def test_a_second_answer_to_one_call_is_no_answer_to_another(pool: Pool) -> None:
    before = pool.stats()["protocol_errors"]
    neighbour = pool.submit("rest", 600)
    assert pool.submit("misbehave", "an answer twice").result(DEADLINE) is None
    with pytest.raises(errors.ProtocolError):
        neighbour.result(DEADLINE)
    wait_for_broken(pool, before)
