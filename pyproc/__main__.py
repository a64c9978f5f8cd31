"""`python -m pyproc --cflags --libs` for C programs, `worker docs.py` for the Go pool."""

from __future__ import annotations

import argparse
import os
import sys


def main() -> None:
    """Prints what was asked for, on one line."""
    if sys.argv[1:2] == ["worker"]:
        from pyproc.gopool.run import main as serve

        serve(sys.argv[2:])
    import pyproc

    parser = argparse.ArgumentParser(prog="python -m pyproc", description=__doc__)
    parser.add_argument("--cflags", action="store_true", help="flags for the compiler")
    parser.add_argument("--libs", action="store_true", help="flags for the linker")
    parser.add_argument("--version", action="version", version=pyproc.__version__)
    asked = parser.parse_args()
    words = []
    if asked.cflags:
        words.append(f"-I{pyproc.get_include()}")
    if asked.libs:
        library = os.path.join(os.path.dirname(os.path.abspath(pyproc.__file__)), "lib")
        words += [f"-L{library}", "-lpyproc", f"-Wl,-rpath,{library}"]
    if not words:
        parser.error("say --cflags, --libs or both")
    print(" ".join(words))


if __name__ == "__main__":
    main()
