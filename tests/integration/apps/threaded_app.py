"""Starts a thread while it is imported, so that forking it is not safe."""

import threading

import pyproc

app = pyproc.App()
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()


@app.expose
def answer() -> int:
    return 42
