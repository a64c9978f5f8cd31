"""The read-only HTTP of a daemon: health, metrics and a live page; see `pyproc.web.site`."""
