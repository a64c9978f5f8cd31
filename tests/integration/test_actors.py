"""Pool.actor: objects of exposed classes that live in one worker."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

import pyproc
from pyproc import App, Pool, Recycle
from pyproc.access import glob_fits

APP = Path(__file__).with_name("apps") / "actor_app.py"


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(APP, workers=2, sandbox="none") as it:
        yield it


def test_an_actor_keeps_its_state_in_one_worker(pool: Pool) -> None:
    with pool.actor("Session", "anna") as anna, pool.actor("Session", user="bert") as bert:
        assert [anna.add(number) for number in range(3)][-1] == [0, 1, 2]
        assert bert.add(7) == [7]
        assert {tuple(anna.who()) for _ in range(5)} == {tuple(anna.who())}
        assert anna.who()[1] == "anna"
        assert anna.who()[0] != bert.who()[0]
        assert anna.inherited() == "Session"
        assert pool.stats()["actors"] == 2
        assert [worker.actors for worker in pool.workers()] == [1, 1]
    assert pool.stats()["actors"] == 0


def test_each_way_to_call_reaches_it_in_order(pool: Pool) -> None:
    async def use() -> list[Any]:
        async with await pool.aactor("Session", "anna") as anna:
            first = [await anna.add.acall(1), await anna.later.acall(5)]
            return [*first, [n async for n in anna.count.astream(2)]]

    assert asyncio.run(use()) == [[1], 6, [0, 1]]
    with pool.actor("Session", "bert") as bert:
        futures = [bert.add.submit(number) for number in range(50)]
        assert futures[-1].result(60) == list(range(50))
        assert list(bert.count.stream(3)) == [0, 1, 2]
        assert bert.later(1) == 2


def test_two_actors_may_share_a_worker() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        anna, bert = pool.actor("Session", "anna"), pool.actor("Session", "bert")
        assert (anna.add(1), bert.add(2), anna.add(3)) == ([1], [2], [1, 3])
        assert anna.who()[0] == bert.who()[0] == pool.call("plain")
        anna.close()
        assert bert.add(4) == [2, 4]
        bert.close()


def test_closing_runs_close_or_exit_in_the_worker_once(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    anna = pool.actor("Session", "anna", log=str(log))
    anna.nap.submit(0.05)
    anna.close()
    anna.close()
    assert log.read_text() == "anna made\nanna closed\n"
    with pytest.raises(pyproc.ActorLost, match="this Session is closed"):
        anna.add(1)
    lines = pool.actor("Lines", str(log))
    assert lines.number() == 1
    lines.close()
    assert log.read_text() == "entered left"


def test_an_actor_that_is_dropped_is_closed(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    anna = pool.actor("Session", "anna", log=str(log))
    assert anna.add(1) == [1]
    del anna
    gc.collect()
    assert eventually(lambda: "anna closed" in log.read_text())
    assert eventually(lambda: pool.stats()["actors"] == 0)


def test_what_is_left_is_closed_when_its_worker_leaves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Pool(APP, workers=1, sandbox="none") as pool:
        anna = pool.actor("Session", "anna", log=str(log))
    assert log.read_text() == "anna made\nanna closed\n"
    anna.close()


def test_after_a_crash_it_is_lost_for_its_workers_death(pool: Pool) -> None:
    anna = pool.actor("Session", "anna")
    pid = anna.who()[0]
    dying = anna.die.submit()
    waiting = anna.add.submit(1)
    with pytest.raises(pyproc.WorkerCrashed) as crashed:
        dying.result(60)
    assert crashed.value.function == "Session.die"
    with pytest.raises(pyproc.ActorLost):
        waiting.result(60)
    for _ in range(2):
        with pytest.raises(pyproc.ActorLost) as lost:
            anna.add(1)
        cause = lost.value.__cause__
        assert isinstance(cause, pyproc.WorkerCrashed)
        assert cause.pid == lost.value.pid == pid
        assert cause.signal == 6
    anna.close()
    assert pool.stats()["actors"] == 0


def test_another_call_that_ends_its_worker_loses_it_too() -> None:
    with Pool(APP, workers=1, sandbox="none") as pool:
        anna = pool.actor("Session", "anna")
        with pytest.raises(pyproc.WorkerCrashed):
            pool.call("die")
        with pytest.raises(pyproc.ActorLost) as lost:
            anna.add(1)
        assert isinstance(lost.value.__cause__, pyproc.WorkerCrashed)
        with pytest.raises(pyproc.ActorLost):
            asyncio.run(anna.add.acall(1))
        anna.close()


def test_a_timeout_of_a_method_loses_it_with_its_reason(pool: Pool) -> None:
    anna = pool.options(timeout=0.2).actor("Session", "anna")
    with pytest.raises(pyproc.TaskTimeout):
        anna.nap(600)
    with pytest.raises(pyproc.ActorLost) as lost:
        anna.add(1)
    assert lost.value.cause == "timeout"
    anna.close()


def test_by_its_rule_it_is_made_again_with_the_same_arguments(pool: Pool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    anna = pool.options(restart=2).actor("Session", "anna", log=str(log))
    for _ in range(2):
        anna.add(1)
        with pytest.raises(pyproc.WorkerCrashed):
            anna.die()
        assert anna.add(2) == [2]
    with pytest.raises(pyproc.WorkerCrashed):
        anna.die()
    with pytest.raises(pyproc.ActorLost):
        anna.add(3)
    assert log.read_text() == "anna made\n" * 3
    anna.close()


def test_it_is_made_again_for_who_awaits_it(pool: Pool) -> None:
    async def use() -> list[int]:
        async with await pool.options(restart="always").aactor("Session", "anna") as anna:
            with pytest.raises(pyproc.WorkerCrashed):
                await anna.die.acall()
            return list(await anna.add.acall(5))

    assert asyncio.run(use()) == [5]


def test_a_worker_with_actors_is_not_recycled(pool: Pool) -> None:
    with Pool(APP, workers=2, recycle=Recycle(max_tasks=3), sandbox="none") as recycled:
        with recycled.actor("Session", "anna") as anna:
            pids = {anna.who()[0] for _ in range(12)}
        assert len(pids) == 1
        assert eventually(lambda: recycled.call("plain") not in pids)


def test_a_reload_loses_it_and_says_so(pool: Pool) -> None:
    anna = pool.actor("Session", "anna")
    pool.reload(120)
    with pytest.raises(pyproc.ActorLost, match="reload"):
        anna.add(1)
    anna.close()


def test_an_idle_worker_with_an_actor_stays() -> None:
    with Pool(APP, min_workers=1, max_workers=2, idle_timeout=0.1, sandbox="none") as pool:
        actors = [pool.actor("Bare") for _ in range(2)]
        pids = [actor.pid() for actor in actors]
        assert len(set(pids)) == 2
        time.sleep(0.5)  # five times as long as an idle worker stays
        assert [actor.pid() for actor in actors] == pids
        for actor in actors:
            actor.close()
        assert eventually(lambda: pool.stats()["workers"] == 1)


def test_many_threads_call_one_actor_one_at_a_time(pool: Pool) -> None:
    with pool.actor("Session", "anna") as anna:
        threads = [
            threading.Thread(target=lambda: [anna.add(n) for n in range(25)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert sorted(anna.add(99)) == sorted([*range(25)] * 4 + [99])


def test_what_the_class_or_a_method_raises_is_raised(pool: Pool) -> None:
    with pytest.raises(LookupError, match="no such user"):
        pool.actor("Session", "nobody")
    with pytest.raises(pyproc.WorkerCrashed):
        pool.actor("Session", "killer")
    with pool.actor("Session", "anna") as anna:
        with pytest.raises(ValueError, match="anna"):
            anna.fail()
        assert anna.add(1) == [1]
    assert pool.stats()["actors"] == 0


def test_wrong_arguments_are_refused_and_nothing_is_made(pool: Pool) -> None:
    with pytest.raises(TypeError, match="user"):
        pool.actor("Session")
    with pytest.raises(pyproc.ValidationError, match="user"):
        pool.actor("Session", 5)
    with pool.actor("Point", 1) as point:
        assert point.total() == 3
        with pytest.raises(TypeError):
            point.total(5)
    with pytest.raises(pyproc.ValidationError, match="x"):
        pool.actor("Point", "one")
    assert pool.stats()["actors"] == 0


def test_names_that_are_not_there_are_refused_with_those_that_are(pool: Pool) -> None:
    with pytest.raises(pyproc.UnknownFunction, match="did you mean 'Session'.*Session, Lines"):
        pool.actor("Sesion")
    with pytest.raises(pyproc.UnknownFunction, match="'plain' is a function, not a class"):
        pool.actor("plain")
    with pool.actor("Session", "anna") as anna:
        with pytest.raises(AttributeError, match=r"no method 'ad'; did you mean 'add'.*there are"):
            anna.ad(1)
        for name in ("_note", "__len__", "helper", "seen"):
            with pytest.raises(AttributeError):
                getattr(anna, name)
        assert "add" in dir(anna)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(anna)
    with pytest.raises(ValueError, match="restart"):
        pool.options(restart=-1)
    with pytest.raises(TypeError, match="restart"):
        pool.options(restart="often")  # type: ignore[arg-type]


def test_its_functions_cannot_be_called_without_the_handle(pool: Pool) -> None:
    for function, args in [("Session", ("anna",)), ("Session.add", (5, 1)), ("Session.add", (0,))]:
        with pytest.raises(TypeError, match=r"use pool\.actor"):
            pool.call(function, *args)
    with pytest.raises(LookupError, match="closed"):
        pool.call("Session.add", 2**63 + 5, 1)
    with pytest.raises(pyproc.UnknownFunction):
        pool.call("Session._note", 2**63 + 5, "x")


def test_its_names_and_signatures_are_published_as_policies_know_them(pool: Pool) -> None:
    functions = pool.functions()
    assert functions["Session"] == "(self, user: str, *, log: str | None = ...) -> None"
    assert functions["Session.add"] == "(self, number: int) -> list[int]"
    assert glob_fits("Session.*", "Session.add")
    assert not any("_note" in name or "helper" in name for name in functions)


def test_a_class_in_an_app_of_the_main_script_must_be_importable() -> None:
    app = App()

    class Inside: ...

    app.expose(Inside)
    with pytest.raises(ValueError, match="must be importable"):
        Pool(app, sandbox="none")
