"""FastAPI with a pool: run it with `uvicorn fastapi_app:app` in this folder.

The pool lives as long as the application. Too many requests get 503, a search that takes too long
504, and a client that goes away takes its work along.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import pyproc


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One pool for the application's life."""
    worker = Path(__file__).with_name("matching.py")
    timeouts = pyproc.Timeouts(task=60)
    async with pyproc.Pool(worker, workers=1, max_queue=1, timeouts=timeouts) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


class Search(BaseModel):
    """A request."""

    pattern: str
    text: str


@app.exception_handler(pyproc.QueueFull)
async def busy(_request: Request, _error: Exception) -> JSONResponse:
    """More waits already than may."""
    return JSONResponse({"detail": "busy"}, 503, headers={"Retry-After": "1"})


@app.exception_handler(pyproc.TaskTimeout)
async def too_slow(_request: Request, _error: Exception) -> JSONResponse:
    """The time limit of a call."""
    return JSONResponse({"detail": "the search took too long"}, 504)


async def until_gone(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def in_pool(request: Request, function: str, *args: Any) -> Any:
    """Calls in the pool. `submit` raises QueueFull, where `acall` would wait for room."""
    future = request.app.state.pool.submit(function, *args)
    work = asyncio.wrap_future(future)
    gone = asyncio.create_task(until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None  # of None nobody hears
    finally:
        gone.cancel()
        work.cancel()
        future.kill()  # does nothing when it has ended


@app.post("/find")
async def find(search: Search, request: Request) -> Any:
    """All matches."""
    return await in_pool(request, "find", search.pattern, search.text)


@app.get("/load")
async def load(request: Request) -> dict[str, int]:
    """How busy the pool is."""
    stats = request.app.state.pool.stats()
    return {name: stats[name] for name in ("calls_running", "calls_waiting")}
