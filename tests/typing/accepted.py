"""What mypy --strict must accept: the public API as users write it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any, Protocol

import pyproc
from pyproc import App, Future, Limits, Pool, Timeouts, WorkerInfo

app = App()


@app.expose
def double(n: int) -> int:
    return 2 * n


@app.expose(name="half")
def halve(n: int) -> float:
    return n / 2


@app.on_start
def load() -> None: ...


@pyproc.expose
def plain() -> None: ...


number: int = double(2)  # decorated functions stay what they are


def use() -> None:
    with Pool(app, workers=2, limits=Limits(cpus={0}), timeouts=Timeouts(task=1)) as pool:
        answer: Any = pool.call("double", 2)
        future: Future = pool.submit("double", n=2)
        concurrent.futures.wait([future], timeout=1)
        done: bool = future.kill()
        results: Iterator[Any] = pool.map("double", [1, 2], chunksize=2, ordered=False)
        infos: list[WorkerInfo] = pool.workers()
        stats: dict[str, int] = pool.stats()
        pool.options(timeout=2.0, queue_timeout=None, result_type=int).call("double", 2)
        pool.call("double", pyproc.File("names.txt"), kept=pyproc.File(b"bytes", "rb"))
        path: str = pyproc.safe_path("data", "report.txt")
        pyproc.open_beneath("data", path).close()
        pool.resize(3)
        pool.close(timeout=1)
        print(answer, done, results, infos[0].pid, stats)


async def use_async() -> None:
    async with Pool([double], min_workers=1, max_workers=2, path=["src"], env={"A": "b"}) as pool:
        print(await pool.acall("double", 1))
        async for value in pool.amap("double", range(3), buffersize=2):
            print(value)


def errors(pool: Pool) -> None:
    try:
        pool.call("double", 1)
    except pyproc.TaskTimeout as error:
        stage: str | None = error.stage
        print(stage, isinstance(error, TimeoutError))
    except pyproc.WorkerDied as died:
        print(died.signal, died.exit_code, died.function, died.python_stack)
    except pyproc.ValidationError as refused:
        print(refused.path)


@app.expose
class Session:
    def add(self, n: int) -> list[int]:
        return [n]


async def use_actors(pool: Pool) -> None:
    with pool.options(restart=3).actor("Session", "anna", log=None) as session:
        print(session.add(1), session.add.submit(2).result(), await session.add.acall(3))
    async with await pool.aactor("Session") as other:
        actor: pyproc.Actor = other
        print(actor, [item async for item in actor.add.astream(1)])


class Numbers(Protocol):
    def double(self, n: int) -> int: ...
    async def half(self, n: int) -> float: ...
    def count(self, n: int) -> Iterator[int]: ...


async def use_proxies(pool: Pool) -> None:
    numbers = pool.proxy(Numbers)
    twice: int = numbers.double(1)
    half: float = await numbers.half(2)
    for item in pool.options(timeout=1).proxy(Numbers).count(3):
        print(item + twice + half)


@pyproc.isolated
def simple(n: int, *, times: int = 2) -> str:
    return str(n) * times


@pyproc.isolated(timeout=2, sandbox="strict", limits=Limits(memory="1GiB"))
def optioned(n: int) -> list[int]:
    return [n]


@pyproc.isolated()
async def awaited(n: int) -> float:
    return n / 2


async def use_isolated() -> None:
    text: str = simple(1, times=3)
    more: str = await simple.acall(1)
    here: str = simple.local(1, times=2)
    future: concurrent.futures.Future[str] = simple.submit(2)
    late: str = simple.submit(2).result(5)
    numbers: list[int] = optioned(1)
    half: float = await awaited(1)
    quarter: float = await awaited.acall(1)
    done: float = awaited.submit(3).result()
    simple.close()
    print(text, more, here, future, late, numbers, half, quarter, done)


asyncio.run(use_async())
