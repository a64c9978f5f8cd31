"""Functions that try what a sandbox refuses. What the import itself could do is kept."""

import os
import resource
import socket
import subprocess

import pyproc


def _try(deed):
    try:
        deed()
    except OSError as error:
        return type(error).__name__
    return "done"


SECRET = os.environ.get("TEST_SECRET_FILE", "")
AT_IMPORT = _try(lambda: open(SECRET).close())


@pyproc.expose
def double(req):
    return req["value"] * 2


@pyproc.expose
def at_import(req):
    return AT_IMPORT


@pyproc.expose
def pid(req):
    return os.getpid()


@pyproc.expose
def reads(req):
    return _try(lambda: open(SECRET).close())


@pyproc.expose
def connects(req):
    return _try(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close())


@pyproc.expose
def binds(req):
    return _try(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close())


@pyproc.expose
def executes(req):
    return _try(lambda: subprocess.run(["/bin/true"], check=True))


@pyproc.expose
def signals_parent(req):
    return _try(lambda: os.kill(os.getppid(), 0))


@pyproc.expose
def environment(req):
    return sorted(name for name in os.environ if name.startswith("PYPROC_"))


@pyproc.expose
def allocates(req):
    return len(bytearray(req["bytes"]))


@pyproc.expose
def limit(req):
    return resource.getrlimit(getattr(resource, req["name"]))[0]


if __name__ == "__main__":
    pyproc.run_worker()
