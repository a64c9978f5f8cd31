"""One function of one argument, for maps that take memory."""

import pyproc

app = pyproc.App()


@app.expose
def take(mib: int) -> int:
    kept = [b"x" * (1 << 20) for _ in range(mib)]
    return len(kept)
