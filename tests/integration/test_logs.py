"""Log records of workers: in the host's loggers, whole, and before the error of their call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool, RemoteError, WorkerCrashed

APPS = Path(__file__).with_name("apps")
TARGET = "output_app:app"
DEADLINE = 60.0


def open_pool(workers: int = 1, **options: Any) -> Pool:
    return Pool(TARGET, workers=workers, path=[str(APPS)], **options)


def wait_until(holds: Callable[[], object]) -> None:
    """With a deadline, since records come on a way of their own."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(1):
        yield caplog


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING, logging.CRITICAL, 33])
def test_a_record_reaches_the_hosts_logger(records: pytest.LogCaptureFixture, level: int) -> None:
    with open_pool() as pool:
        pool.call("log", "some.place", level, "look")
        wait_until(lambda: records.records)
    (record,) = records.records
    assert (record.name, record.levelno, record.getMessage()) == ("some.place", level, "look!")
    assert record.levelname == logging.getLevelName(level)


def test_a_record_has_the_time_at_which_it_was_made(records: pytest.LogCaptureFixture) -> None:
    before = time.time()
    with open_pool() as pool:
        pool.call("log", "timed", logging.ERROR, "now")
    assert before <= records.records[0].created <= time.time()


def test_a_record_says_which_worker_and_call_made_it(records: pytest.LogCaptureFixture) -> None:
    with open_pool() as pool:
        pool.call("log", "traced", logging.ERROR, "here")
        worker = pool.workers()[0].id
    record: Any = records.records[0]
    assert record.pyproc_worker == worker


def test_an_exception_that_was_logged_comes_with_its_traceback(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        pool.call("log_exception", "seeker")
    (record,) = records.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "searching"
    shown = logging.Formatter().format(record)
    assert shown.startswith("searching\nTraceback")
    assert 'raise LookupError("lost")' in shown
    assert shown.endswith("LookupError: lost")


def test_an_exception_that_was_logged_is_there_for_handlers_that_look_at_it(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        pool.call("log_exception", "seeker")
    info = records.records[0].exc_info
    assert info is not None
    assert isinstance(info[1], RemoteError)
    assert (info[1].type_name, info[1].message) == ("LookupError", "lost")


def test_what_was_logged_with_a_record_is_there_as_its_attributes(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        pool.call("log_extra", "rich", {"user": "ann", "ids": [1, 2]})
    record: Any = records.records[0]
    assert (record.user, record.ids) == ("ann", [1, 2])


def test_no_worker_may_set_what_belongs_to_the_record(records: pytest.LogCaptureFixture) -> None:
    with open_pool() as pool:
        pool.call("log_behind", "sly", {"pathname": "/etc/passwd", "pyproc_call": 0, "good": 1})
    record: Any = records.records[0]
    assert (record.pathname, record.pyproc_call != 0, record.good) == ("(worker)", True, 1)


ROUNDS = 40


def test_records_are_complete_before_a_calls_error_is_raised(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        for n in range(1, ROUNDS):
            with pytest.raises(ValueError, match="after"):
                pool.call("log_and_fail", "late", 5)
            assert len(records.records) == 5 * n


def test_records_are_complete_before_a_futures_error_is_there(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        for n in range(1, ROUNDS):
            assert isinstance(pool.submit("log_and_fail", "late", 5).exception(60), ValueError)
            assert len(records.records) == 5 * n


def test_records_are_complete_before_a_maps_error_is_there(
    records: pytest.LogCaptureFixture,
) -> None:
    with open_pool() as pool:
        for n in range(1, ROUNDS):
            (error,) = pool.map("log_item_and_fail", [5], return_exceptions=True)
            assert isinstance(error, ValueError)
            assert len(records.records) == 5 * n


def test_records_are_complete_before_an_awaited_error_is_raised(
    records: pytest.LogCaptureFixture,
) -> None:
    async def main(pool: Pool) -> None:
        for n in range(1, ROUNDS):
            with pytest.raises(ValueError, match="after"):
                await pool.acall("log_and_fail", "late", 5)
            seen = [record for record in records.records if record.name == "late"]
            assert len(seen) == 5 * n

    with open_pool() as pool:
        asyncio.run(main(pool))


def test_records_are_complete_before_a_crash_is_raised(records: pytest.LogCaptureFixture) -> None:
    with open_pool() as pool:
        with pytest.raises(WorkerCrashed):
            pool.call("log_and_crash", "last")
        assert [record.getMessage() for record in records.records] == ["words"]


def test_a_record_below_the_hosts_level_is_not_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="choosy"), open_pool() as pool:
        pool.call("log", "choosy", logging.INFO, "small")
        pool.call("log", "choosy", logging.ERROR, "big")
    assert [record.getMessage() for record in caplog.records] == ["big!"]


def test_a_record_with_percent_signs_is_taken_as_it_is(records: pytest.LogCaptureFixture) -> None:
    with open_pool() as pool:
        pool.call("log", "plain", logging.ERROR, "100 %s %d")
    assert records.records[0].getMessage() == "100 %s %d!"


def test_a_record_that_cannot_be_formatted_does_no_harm() -> None:
    with open_pool() as pool:
        assert pool.call("log_badly", "clumsy") == 1
        assert pool.call("add", 1, 2) == 3


def test_a_flood_of_records_does_not_hold_the_worker(records: pytest.LogCaptureFixture) -> None:
    logging.getLogger("flood").setLevel(logging.CRITICAL)
    with open_pool() as pool:
        assert pool.call("log_many", "flood", 20_000) == 20_000
        assert pool.call("add", 1, 2) == 3


def test_records_appear_with_dropped_output_too(records: pytest.LogCaptureFixture) -> None:
    with open_pool(output="drop") as pool:
        pool.call("log", "kept", logging.ERROR, "look")
    assert [record.getMessage() for record in records.records] == ["look!"]
