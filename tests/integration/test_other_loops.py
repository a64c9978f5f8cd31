"""Event loops that are not asyncio's own: uvloop, and anyio's interface over asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool

APP = Path(__file__).with_name("apps") / "awaited_app.py"
DEADLINE = 120.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One worker: a call that still ran would keep the next one waiting."""
    with Pool(APP, workers=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def uvloop() -> Any:
    """The module; its libuv keeps a pipe from its first loop on, which is no leak of a test."""
    module = pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
    return module


def test_uvloop_awaits_calls_and_its_timeouts_stop_the_work(pool: Pool, uvloop: Any) -> None:
    async def main() -> list[int]:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pool.acall("nap", 600)
        answers = asyncio.gather(*(pool.acall("double", n) for n in range(100)))
        return list(await asyncio.wait_for(answers, DEADLINE))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [2 * n for n in range(100)]


def test_anyios_cancel_scopes_stop_the_work(pool: Pool) -> None:
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")

    async def main() -> int:
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await pool.acall("nap", 600)
        with anyio.fail_after(DEADLINE):
            answer: int = await pool.acall("double", 21)
        return answer

    assert anyio.run(main, backend="asyncio") == 42
