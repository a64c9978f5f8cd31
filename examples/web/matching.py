"""What the web examples run in workers: searches with patterns that users bring along.

A pattern can take for ever (`(a+)+$` on a row of a's and a b). In a worker that costs a time limit
and one request, never the web server.
"""

from __future__ import annotations

import os
import re

import pyproc

app = pyproc.App()


@app.expose
def find(pattern: str, text: str) -> list[str]:
    """All matches of a pattern."""
    return [match.group() for match in re.finditer(pattern, text)]


@app.expose
def crash() -> None:
    """Ends the worker as a fault in a native library does."""
    os.abort()
