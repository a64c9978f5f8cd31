"""map with items and results that are large for one message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Pool, ResultTooLarge

APP = Path(__file__).parents[1] / "fault" / "apps" / "breaking.py"
MIB = 1 << 20


@pytest.fixture(name="pool", scope="module")
def two_workers() -> Iterator[Pool]:
    with Pool(APP, workers=2) as opened:
        for future in [opened.submit("nap", 0.2) for _ in range(2)]:
            future.result(60)
        yield opened


@pytest.fixture
def inline() -> Iterator[Pool]:
    """No value of its calls goes in shared memory."""
    with Pool(APP, workers=1, buffer_threshold=None) as opened:
        yield opened


@pytest.mark.parametrize("chunksize", [100, "auto"])
def test_results_of_a_chunk_may_be_much_larger_than_a_message(pool: Pool, chunksize: int) -> None:
    results = pool.map("blob", [MIB] * 100, chunksize=chunksize)
    assert [len(result) for result in results] == [MIB] * 100


def test_items_that_do_not_fit_into_one_message_together_go_in_several(pool: Pool) -> None:
    items = [bytes([n]) * (4 * MIB) for n in range(12)]
    assert list(pool.map("size", items, chunksize=12)) == [4 * MIB] * 12


def test_an_item_too_large_for_a_message_fails_alone(inline: Pool) -> None:
    items = [b"a", b"b" * (20 * MIB), b"c", b"d"]
    results = list(inline.map("size", items, chunksize=4, return_exceptions=True))
    assert isinstance(results[1], ResultTooLarge)
    assert [results[0], *results[2:]] == [1, 1, 1]


def test_a_map_that_is_closed_forgets_what_its_input_raised(pool: Pool) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("input")

    results = pool.map("add", broken())
    assert next(results) == 1
    results.close()
    assert list(results) == []
