"""Celery with a pool: `celery -A celery_app worker --pool prefork` in this folder.

Celery forks its worker processes after it has imported this module; after_fork="reopen" lets each
have a pool of its own. What is gained: a crash or a hang costs one task at once, with its signal
and stack, and Celery's own process goes on.
The broker is a folder, so that the example needs no server.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery  # type: ignore[import-untyped]

import pyproc

FOLDER = Path(os.environ.get("CELERY_FOLDER", "/tmp/celery-example"))  # nosec B108
for name in ("queue", "control", "results"):
    (FOLDER / name).mkdir(parents=True, exist_ok=True)

app = Celery("celery_app", broker="filesystem://", backend=f"file://{FOLDER / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
}

pool = pyproc.Pool(
    Path(__file__).with_name("matching.py"),
    workers=1,
    timeouts=pyproc.Timeouts(task=60),
    after_fork="reopen",
)


@app.task  # type: ignore[untyped-decorator]
def find(pattern: str, text: str) -> list[str]:
    """All matches."""
    found: list[str] = pool.call("find", pattern, text)
    return found


@app.task  # type: ignore[untyped-decorator]
def crash() -> str:
    """A fault in a worker."""
    try:
        pool.call("crash")
    except pyproc.WorkerDied as error:
        return type(error).__name__
    return "nothing"
