"""Flask with a pool: run it with `gunicorn -w 2 flask_app:app` in this folder, with or without
`--preload`.

gunicorn forks its workers. With --preload the application, and this pool, were made before: each
gunicorn worker's copy then opens anew with its first use, because after_fork="reopen" says so
(without it: PoolClosed). Without --preload each worker imports the application by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask, request

import pyproc

pool = pyproc.Pool(
    Path(__file__).with_name("matching.py"),
    workers=2,
    timeouts=pyproc.Timeouts(queue=5, task=60),
    after_fork="reopen",
)
app = Flask(__name__)


@app.post("/find")
def find() -> Any:
    """All matches."""
    try:
        return pool.call("find", request.form["pattern"], request.form["text"])
    except pyproc.TaskTimeout as error:
        return {"detail": "busy" if error.stage == "queue" else "too slow"}, 503


@app.post("/crash")
def crash() -> Any:
    """A fault in a worker is one bad answer."""
    try:
        return pool.call("crash")
    except pyproc.WorkerDied as error:
        return {"detail": type(error).__name__}, 500


@app.get("/where")
def where() -> dict[str, int]:
    """Who serves this, and which pool."""
    pool.call("find", "a", "a")  # a forked child's pool opens with its first call
    return {"server": os.getpid(), "worker": pool.workers()[0].pid}
