"""A worker of the Go project's pool: `python docs.py` with PYPROC_SOCKET_PATH set.

The Go program starts the script, connects to the socket and sends JSON; `pyproc.run_worker()` at
the end of the script serves it. Nothing here is used by our own pools.

socket -> frames -> codecs -> functions -> the same way back
"""
