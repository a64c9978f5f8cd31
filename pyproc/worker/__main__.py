"""Starts a worker; the pool runs this file, users never do.

It is compiled at every start, so it does next to nothing: it finds its own package, which
leaves no directory on `sys.path`, and hands over.
"""

import sys


def _start() -> None:
    package = __file__.rpartition("/")[0].rpartition("/")[0]
    sys.path.insert(0, package.rpartition("/")[0])
    import pyproc.worker.run

    del sys.path[0]
    pyproc.worker.run.main()


if __name__ == "__main__":
    _start()
