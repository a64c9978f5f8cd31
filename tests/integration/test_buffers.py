"""Large buffers: through memory both ways, read-only, and all of it given back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import pyproc
from pyproc import Limits, Pool, ResultTooLarge, Retry

APPS = Path(__file__).with_name("apps")
sys.path.insert(0, str(APPS))
from buffers_app import Frame  # type: ignore[import-not-found]  # noqa: E402

MiB = 2**20


def open_pool(**options: Any) -> Pool:
    """Over the application, with one worker."""
    given = {"workers": 1, "path": [str(APPS)], "sandbox": "none", **options}
    return Pool("buffers_app:app", **given)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with open_pool() as opened:
        opened.call("total", np.zeros(1))
        yield opened


def numbers(size: int = MiB) -> np.ndarray[Any, Any]:
    return np.arange(size // 8, dtype="f8")


def ways(pool: Pool) -> list[Callable[..., Any]]:
    """Every way to call."""
    return [
        pool.call,
        lambda *args: pool.submit(*args).result(60),
        lambda *args: asyncio.run(pool.acall(*args)),
        lambda name, *items: next(pool.map(name, items)),
        lambda name, *items: list(pool.map(name, items * 6, chunksize=6))[-1],
    ]


@pytest.mark.parametrize("at", range(5))
def test_an_array_goes_there_and_back_by_every_way(pool: Pool, at: int) -> None:
    for _ in range(3):  # new memory, and such as was used before
        back = ways(pool)[at]("double", numbers())
        assert np.array_equal(back, numbers() * 2)
        assert not back.flags.writeable


@pytest.mark.parametrize(
    "value",
    [
        numbers(),
        np.asfortranarray(numbers().reshape(256, -1)),
        numbers(4 * MiB)[::2],
        numbers().reshape(256, -1).T[::-1],
        np.zeros(MiB, "M8[ns]"),
        np.full(70_000, "ab", "U8"),
        np.ones((3, MiB), bool),
    ],
    ids=lambda value: f"{value.dtype}{value.strides}",
)
def test_every_layout_and_type_of_array_is_the_same(pool: Pool, value: Any) -> None:
    back = pool.call("echo", value)
    assert back.dtype == value.dtype
    assert np.array_equal(back, value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, pa.py_buffer])
@pytest.mark.parametrize("size", [10, MiB])
def test_bytes_of_each_kind_stay_of_it_whatever_their_size(
    pool: Pool, kind: Any, size: int
) -> None:
    value = kind(os.urandom(size))
    back = pool.call("echo", value)
    assert type(back) is type(value)
    assert bytes(back) == bytes(value)


def test_values_inside_others_go_by_memory_too(pool: Pool) -> None:
    data = os.urandom(MiB)
    back = pool.call("echo", {"a": [data, (numbers(), {"b": memoryview(data)})], "c": 1})
    assert back["a"][0] == data
    assert np.array_equal(back["a"][1][0], numbers())
    assert back["a"][1][1]["b"] == data
    assert np.array_equal(pool.call("echo", Frame("x", numbers()))["pixels"], numbers())
    assert pool.call("frame", "y", MiB)["pixels"][-1] == MiB - 1


def test_many_small_and_large_ones_find_their_own_bytes(pool: Pool) -> None:
    parts = [os.urandom(size) for size in (1, 300_000, 17, 262_144, 262_143, 400_001)]
    assert pool.call("echo", parts * 3) == parts * 3


def test_what_a_worker_gets_cannot_be_written(pool: Pool) -> None:
    assert pool.call("kind", numbers()) == ["ndarray", False, None]
    assert pool.call("kind", memoryview(bytes(MiB))) == ["memoryview", None, True]
    assert pool.call("try_to_write", numbers()) == "ValueError"
    shared = pyproc.share(numbers())
    assert pool.call("try_to_write", shared) == "ValueError"


def test_a_memoryview_stands_for_bytes_where_bytes_are_wanted(pool: Pool) -> None:
    for size in (3, MiB):
        assert pool.call("only_bytes", memoryview(bytes(size))) == "bytes"


def test_an_argument_that_a_function_keeps_stays_as_it_was(pool: Pool) -> None:
    for at in range(4):
        pool.call("keep", np.full(MiB // 8, float(at)))
    for _ in range(4):
        pool.call("total", np.full(MiB // 8, 99.0))
    assert pool.call("sum_of_kept") == [at * MiB / 8 for at in range(4)]


def test_a_result_that_the_host_keeps_stays_as_it_was(pool: Pool) -> None:
    kept = [pool.call("double", np.full(MiB // 8, float(at))) for at in range(4)]
    assert [float(array[-1]) for array in kept] == [0, 2, 4, 6]


def test_results_of_up_to_the_limit_go_and_larger_ones_say_what_to_do() -> None:
    with open_pool(limits=Limits(result_size="2MiB")) as small:
        assert len(small.call("zeros", 2 * MiB)) == 2 * MiB
        for call in ways(small)[:3]:
            with pytest.raises(ResultTooLarge, match=r"2097153 bytes.*result_size"):
                call("zeros", 2 * MiB + 1)
        with pytest.raises(ResultTooLarge):
            small.options(result_size=MiB).call("zeros", MiB + 1)
        assert len(small.options(result_size=MiB).call("zeros", MiB - 100)) == MiB - 100


def test_more_than_a_frame_goes_both_ways(pool: Pool) -> None:
    data = bytes(40 * MiB)
    assert pool.call("echo", data) == data


def test_without_a_threshold_all_goes_through_the_socket() -> None:
    with open_pool(buffer_threshold=None) as plain:
        assert plain.call("kind", numbers())[1] is True
        assert np.array_equal(plain.call("echo", numbers()), numbers())
    with pytest.raises(ValueError, match="buffer_threshold"):
        open_pool(buffer_threshold=10)


@pytest.mark.parametrize("method", ["exec", "template"])
@pytest.mark.parametrize("profile", ["baseline", "strict", "compute"])
def test_every_sandbox_lets_buffers_through(profile: str, method: Any) -> None:
    with open_pool(sandbox=profile, start_method=method) as confined:
        for _ in range(3):
            assert np.array_equal(confined.call("double", numbers()), numbers() * 2)
        assert confined.call("total", pyproc.share(numbers())) == numbers().sum()


def test_a_worker_with_a_small_file_limit_still_answers() -> None:
    with open_pool(limits=Limits(file_size="64KiB")) as limited:
        for _ in range(3):
            assert np.array_equal(limited.call("double", numbers()), numbers() * 2)


def test_a_retried_call_brings_its_buffers_again(tmp_path: Path) -> None:
    retry = Retry(max_attempts=3, backoff=0.01, budget=10)
    for at, submitted in enumerate([False, True]):
        with open_pool(retry=retry) as retrying:
            args = ("die_once", numbers(), str(tmp_path / f"marker{at}"))
            found = retrying.submit(*args).result(60) if submitted else retrying.call(*args)
            assert found == numbers().sum()


def test_descriptors_and_memory_are_flat_over_a_thousand_calls(pool: Pool) -> None:
    def held() -> tuple[int, int]:
        rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        return len(os.listdir("/proc/self/fd")), rss

    array = numbers(512 * 1024)
    for _ in range(20):
        pool.call("double", array)
    before, theirs, top = held(), pool.call("descriptors"), pool.call("peak")
    for _ in range(1000):
        pool.call("double", array)
    after = held()
    assert after[0] <= before[0] + 2
    assert after[1] < before[1] + 32 * MiB
    assert pool.call("descriptors") == theirs
    assert pool.call("peak") < top + 32 * 1024


def test_dying_workers_leave_no_memory_behind() -> None:
    before = _mapped()
    with open_pool(workers=2) as dying:
        for _ in range(5):
            with pytest.raises(pyproc.WorkerDied):
                dying.call("die_with", numbers())
        good = np.array_equal(dying.call("double", numbers()), numbers() * 2)
    assert good
    assert _mapped() <= before


# ---- empty and share ----


def test_shared_memory_is_seen_by_workers_of_several_pools(pool: Pool) -> None:
    shared = pyproc.empty((4, MiB // 32), "f8")
    assert shared.flags.writeable
    assert not shared.any()
    with open_pool() as other:
        for at in range(3):
            shared[...] = at
            expected = at * shared.size
            assert pool.call("total", shared) == other.call("total", shared) == expected
            assert pool.call("total", shared[1:3].T) == expected / 2


@pytest.mark.parametrize("value", [numbers(), np.asfortranarray(numbers().reshape(64, -1))])
def test_share_copies_an_array_once_and_knows_what_is_shared(value: Any) -> None:
    shared = pyproc.share(value)
    assert np.array_equal(shared, value)
    assert pyproc.share(shared) is shared
    assert shared.flags.f_contiguous == value.flags.f_contiguous


def test_shared_bytes_are_a_view(pool: Pool) -> None:
    shared = pyproc.share(b"x" * MiB)
    assert isinstance(shared, memoryview)
    assert not shared.readonly
    assert pool.call("kind", shared) == ["memoryview", None, True]
    assert pool.call("echo", shared) == b"x" * MiB


def test_bad_shapes_and_types_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="dtype"):
        pyproc.empty(3, object)
    with pytest.raises(ValueError, match="shape"):
        pyproc.empty((2, -1))
    with pytest.raises(TypeError, match="share"):
        pyproc.share([1, 2])
    assert pyproc.empty(0).size == 0


def test_shared_memory_goes_with_its_last_array_and_has_no_name() -> None:
    names = sorted(os.listdir("/dev/shm"))
    before = _mapped()
    shared = pyproc.empty(4 * MiB, "u1")
    view = shared[10:]
    assert _mapped() == before + 1
    assert sorted(os.listdir("/dev/shm")) == names
    del shared
    assert _mapped() == before + 1
    del view
    assert _mapped() == before


def _mapped() -> int:
    return Path("/proc/self/maps").read_text().count("pyproc-memory")


def test_a_forked_child_shares_the_memory_and_the_parent_goes_on() -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(APPS)!r})
import numpy as np, pyproc
if __name__ == "__main__":
    with pyproc.Pool("buffers_app:app", workers=1, path=[{str(APPS)!r}]) as pool:
        shared = pyproc.empty(100_000)
        result = pool.call("double", np.ones(100_000))
        child = os.fork()
        if child == 0:
            shared[0] = 7
            os._exit(0 if result.sum() == 200_000 else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert shared[0] == 7
        del result
        assert pool.call("total", shared) == 7
        assert pool.call("double", np.ones(100_000)).sum() == 200_000
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


def test_a_pickle_and_its_buffers_are_an_ordinary_value(pool: Pool) -> None:
    import pickle

    from pyproc.buffers import dump

    data, buffers = dump({"a": numbers(), "b": [numbers(), "text"]})
    assert len(data) < 1000
    back = pool.call("echo", [data, buffers])
    found = pickle.loads(back[0], buffers=back[1])
    assert np.array_equal(found["a"], numbers())
    assert not found["a"].flags.writeable
    assert found["b"][1] == "text"
