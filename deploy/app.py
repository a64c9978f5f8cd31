"""What the examples of this folder serve: sizes of texts. Put your own application in its place."""

from __future__ import annotations

import pyproc

app = pyproc.App()


@app.expose
def words(text: str) -> int:
    """How many words."""
    return len(text.split())


if __name__ == "__main__":
    app.run()
