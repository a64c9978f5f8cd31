"""Functions that look at context variables, which the host imports too."""

from __future__ import annotations

import contextvars

import pyproc

app = pyproc.App()
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="nobody")
tags: contextvars.ContextVar[object] = contextvars.ContextVar("tags")


@app.expose
def who() -> str:
    return request_id.get()


@app.expose
def who_for(_item: int) -> str:
    return request_id.get()


@app.expose
async def who_awaited() -> str:
    return request_id.get()


@app.expose
def what() -> object:
    return tags.get("unset")


@app.expose
def change() -> str:
    request_id.set("changed")
    return request_id.get()


@app.expose
def fail() -> None:
    raise ValueError(request_id.get())
