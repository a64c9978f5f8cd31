"""Streams: items as they are made, a bounded lead, and a generator that is always closed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import Pool, Timeouts, errors

APP = Path(__file__).with_name("apps") / "streaming_app.py"
DEADLINE = 60.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _frees_its_worker(pool: Pool) -> Iterator[None]:
    """After each test the one worker is idle again."""
    yield
    gc.collect()
    wait_for(lambda: pool.stats()["calls_running"] + pool.stats()["calls_waiting"] == 0)


def wait_for(holds: Callable[[], object]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def told(path: Path) -> str:
    """What the generator left in the file, as soon as it has."""
    wait_for(lambda: path.exists() and "closed" in path.read_text())
    return path.read_text()


def taken(stream: Iterator[Any]) -> tuple[list[Any], BaseException]:
    """The items, and the error that came after them."""
    items = []
    try:
        for item in stream:
            items.append(item)  # noqa: PERF402 - those before the error are kept
    except Exception as error:
        return items, error
    raise AssertionError("the stream ended without an error")


def test_items_come_in_order_and_then_the_end(pool: Pool) -> None:
    assert list(pool.stream("count", 0)) == []
    stream = pool.stream("count", 100_000)
    assert list(stream) == list(range(100_000))
    assert list(stream) == [], "an ended stream stays so"


def test_any_value_that_a_call_can_answer_with_can_be_an_item(pool: Pool) -> None:
    expected = [None, 1.5, "text", b"bytes", [1, {"a": 2}], (1, 2), {3, 4}]
    assert list(pool.stream("values")) == expected


def test_an_iterator_that_is_no_generator_is_streamed_too(pool: Pool) -> None:
    assert list(pool.stream("iterator")) == [1, 2, 3]


def test_an_async_generator_is_streamed_as_well(pool: Pool) -> None:
    assert list(pool.stream("acount", 1000)) == list(range(1000))


def test_an_item_is_there_before_the_next_one_is_made(pool: Pool, tmp_path: Path) -> None:
    with pool.stream("slow_second", str(tmp_path / "end"), 300.0) as stream:
        assert next(stream) == "first"
    assert told(tmp_path / "end") == "closed"


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_a_small_buffer_holds_the_generator_at_its_reader(
    pool: Pool, tmp_path: Path, ahead: int
) -> None:
    path = tmp_path / "end"
    stream = pool.options(buffersize=ahead).stream("counted", str(path))
    assert [next(stream) for _ in range(20)] == list(range(1, 21))
    stream.close()
    made = int(told(path).rpartition(" ")[2])
    assert 20 <= made <= 20 + ahead


def test_a_reader_that_sleeps_lets_an_endless_generator_wait(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "end"
    stream = pool.stream("counted", str(path))
    assert next(stream) == 1
    rss = max(worker.rss for worker in pool.workers())
    time.sleep(0.5)
    assert max(worker.rss for worker in pool.workers()) < rss + 16 * 2**20
    stream.close()
    assert int(told(path).rpartition(" ")[2]) <= 2 * 4096 + 1


def test_large_items_wait_for_their_reader_by_bytes(pool: Pool) -> None:
    sizes = [300_000, 1, 2_000_000, 262_144, 262_000, 0, 5_000_000] * 3
    assert [len(item) for item in pool.stream("blobs", sizes)] == sizes


def test_leaving_the_loop_closes_the_generator(pool: Pool, tmp_path: Path) -> None:
    for item in pool.stream("counted", str(tmp_path / "end")):
        if item == 10:
            break
    gc.collect()
    assert told(tmp_path / "end").startswith("closed after")
    assert pool.call("plain") == 5


def test_closing_interrupts_a_generator_that_sleeps(pool: Pool, tmp_path: Path) -> None:
    stream = pool.stream("slow_second", str(tmp_path / "end"), 300.0)
    assert next(stream) == "first"
    pid = pool.workers()[0].pid
    stream.close()
    assert (tmp_path / "end").read_text() == "closed"
    assert list(stream) == []
    assert pool.call("pid") == pid, "the worker lives on"


def test_closing_an_async_generator_lets_it_await_its_own_end(pool: Pool, tmp_path: Path) -> None:
    stream = pool.stream("aslow_second", str(tmp_path / "end"))
    assert next(stream) == "first"
    stream.close()
    assert (tmp_path / "end").read_text() == "closed"


def test_a_stream_that_is_never_read_costs_nothing(pool: Pool, tmp_path: Path) -> None:
    admitted = pool.stats()["calls_admitted"]
    stream = pool.stream("counted", str(tmp_path / "end"))
    assert pool.stats()["calls_admitted"] == admitted
    stream.close()
    assert list(stream) == []
    assert not (tmp_path / "end").exists()


def test_a_stream_that_is_begun_and_dropped_is_closed(pool: Pool, tmp_path: Path) -> None:
    stream = pool.stream("counted", str(tmp_path / "end"))
    stream.__enter__()
    del stream
    gc.collect()
    wait_for(lambda: pool.stats()["calls_running"] == 0)


def test_a_generator_that_raises_gives_its_items_first(pool: Pool) -> None:
    items, error = taken(pool.stream("raises", 1000))
    assert items == list(range(1000))
    assert isinstance(error, LookupError)
    assert "in raises" in str(error.__cause__ or "") + "".join(getattr(error, "__notes__", []))


def test_a_worker_that_dies_gives_the_items_made_before(pool: Pool) -> None:
    items, error = taken(pool.stream("crashes", 3000))
    assert items == list(range(3000))
    assert isinstance(error, errors.WorkerCrashed)
    assert error.function == "crashes"
    assert pool.call("plain") == 5


def test_an_item_that_is_not_of_the_annotated_type_is_named(pool: Pool) -> None:
    items, error = taken(pool.stream("lies", 3))
    assert items == [0, 1, 2]
    assert isinstance(error, errors.ValidationError)
    assert error.path == "item"


def test_an_item_that_cannot_be_carried_ends_the_stream(pool: Pool) -> None:
    items, error = taken(pool.stream("uncarried"))
    assert items == [1]
    assert isinstance(error, errors.CodecError)
    assert str(error).startswith("item:")


def test_an_item_above_the_limit_ends_the_stream(pool: Pool) -> None:
    items, error = taken(pool.stream("blobs", [10, 20 * 2**20]))
    assert items == [bytes(10)]
    assert isinstance(error, errors.ResultTooLarge)
    assert "item takes" in str(error)


def test_a_stray_stop_iteration_is_an_error(pool: Pool) -> None:
    items, error = taken(pool.stream("stops_iteration"))
    assert items == [1]
    assert isinstance(error, RuntimeError), "as Python itself makes of it"


def test_an_end_that_raises_is_told_to_who_closes(pool: Pool) -> None:
    stream = pool.stream("fails_at_its_end")
    next(stream)
    with pytest.raises(ValueError, match="the end failed"):
        stream.close()
    stream.close()


def test_a_generator_that_ignores_its_end_is_told_so(pool: Pool) -> None:
    stream = pool.options(buffersize=1).stream("ignores_the_end")
    next(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()


def test_a_generator_whose_end_takes_too_long_is_killed(pool: Pool, tmp_path: Path) -> None:
    stream = pool.stream("stubborn", str(tmp_path / "end"))
    pid = next(stream)
    with pytest.raises(errors.TaskKilled):
        stream.close()
    assert (tmp_path / "end").read_text() == "closing"
    assert pool.call("pid") != pid


def test_an_error_in_the_block_wins_over_one_of_the_close(pool: Pool) -> None:
    with pytest.raises(KeyError), pool.stream("fails_at_its_end") as stream:
        next(stream)
        raise KeyError("mine")


def test_the_time_of_the_whole_stream_is_limited(pool: Pool, tmp_path: Path) -> None:
    stream = pool.options(timeout=0.3).stream("counted", str(tmp_path / "end"), 0.01)
    items, error = taken(stream)
    assert items[:3] == [1, 2, 3]
    assert isinstance(error, errors.TaskTimeout)
    assert error.stage == "run"


@pytest.mark.parametrize("name", ["count", "acount"])
def test_a_stream_that_is_asked_to_stop_in_time_is_no_stream_that_ended(name: str) -> None:
    with Pool(APP, workers=1, timeouts=Timeouts(grace=DEADLINE), sandbox="none") as pool:
        pid = pool.call("pid")
        for _ in range(10):
            stream = pool.options(timeout=0.02, buffersize=100).stream(name, 10**9)
            items, error = taken(stream)
            assert items == list(range(len(items)))
            assert isinstance(error, errors.TaskTimeout)
        assert list(pool.stream(name, 1000)) == list(range(1000))
        assert pool.call("pid") == pid, "the worker lives on"


def test_the_time_of_an_item_is_limited(pool: Pool, tmp_path: Path) -> None:
    items, error = taken(
        pool.options(item_timeout=0.2).stream("slow_second", str(tmp_path / "end"), 300.0)
    )
    assert items == ["first"]
    assert isinstance(error, errors.TaskTimeout)
    assert "item_timeout" in "".join(error.__notes__)


def test_a_slow_reader_does_not_use_up_the_time_of_an_item(pool: Pool, tmp_path: Path) -> None:
    stream = pool.options(item_timeout=0.2, buffersize=1).stream("counted", str(tmp_path / "end"))
    for expected in (1, 2, 3):
        assert next(stream) == expected
        time.sleep(0.5)
    stream.close()


def test_a_plain_call_of_a_generator_says_to_stream_it(pool: Pool) -> None:
    with pytest.raises(TypeError, match=r"stream\('count', ...\) or astream"):
        pool.call("count", 3)


@pytest.mark.parametrize("name", ["plain", "awaited"])
def test_a_stream_of_a_function_that_returns_says_to_call_it(pool: Pool, name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\(\) .*use call instead of stream"):
        next(pool.stream(name))


def test_arguments_are_checked_as_in_a_call(pool: Pool) -> None:
    with pytest.raises(errors.ValidationError, match="argument 'number'"):
        next(pool.stream("count", "three"))
    with pytest.raises(LookupError, match="no function 'nothing'"):
        next(pool.stream("nothing"))


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"buffersize": 0}, ValueError, "buffersize=0"),
        ({"buffersize": 1.5}, TypeError, "buffersize=1.5"),
        ({"item_timeout": -1}, ValueError, "item_timeout"),
        ({"item_timeout": float("nan")}, ValueError, "item_timeout"),
        ({"result_size": 10}, ValueError, "result_size"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    pool: Pool, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        pool.options(**options).stream("count", 1)


def test_streams_run_in_several_workers_and_beside_calls(tmp_path: Path) -> None:
    with (
        Pool(APP, workers=2, sandbox="none") as pool,
        pool.stream("pids") as first,
        pool.stream("pids") as second,
    ):
        assert next(first) != next(second)
        waiting = pool.submit("plain")
        third = pool.stream("count", 3)
        thread = threading.Thread(target=second.close)
        thread.start()
        assert list(third) == [0, 1, 2]
        assert waiting.result(DEADLINE) == 5
        thread.join()


def test_closing_the_pool_closes_its_streams(tmp_path: Path) -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        stream = pool.stream("counted", str(tmp_path / "end"))
        assert next(stream) == 1
        waiting = pool.stream("count", 3)
        waiting.__enter__()
    assert told(tmp_path / "end").startswith("closed")
    with pytest.raises(errors.PoolClosed):
        for _ in stream:
            pass
    with pytest.raises(errors.PoolClosed):
        list(waiting)
    with pytest.raises(errors.PoolClosed):
        next(pool.stream("count", 3))


def test_a_forked_child_has_no_stream(pool: Pool) -> None:
    stream = pool.options(buffersize=1).stream("count", 5)
    assert next(stream) == 0
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        code = 1
        try:
            next(stream)
        except errors.PoolClosed:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(stream) == [1, 2, 3, 4]


def test_a_function_of_the_main_script_streams_with_its_annotations(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from __future__ import annotations\n"
        "from collections.abc import Iterator\n"
        "import pyproc\n"
        "def count(number: int) -> Iterator[int]:\n"
        "    yield from range(number)\n"
        "    yield 'no number'\n"
        "with pyproc.Pool([count], workers=1) as pool:\n"
        "    try:\n"
        "        for item in pool.stream('count', 3):\n"
        "            print(item)\n"
        "    except pyproc.ValidationError as error:\n"
        "        print(error.path)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.stdout.split() == ["0", "1", "2", "item"], done.stderr


def test_items_become_the_type_that_the_host_asks_for(pool: Pool) -> None:
    items = list(pool.options(result_type=float).stream("count", 3))
    assert items == [0.0, 1.0, 2.0]
    assert all(type(item) is float for item in items)
    with pytest.raises(pyproc.ValidationError, match="item 0"):
        list(pool.options(result_type=str).stream("count", 3))
