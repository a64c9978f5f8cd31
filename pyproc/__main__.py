"""`python -m pyproc`: the commands; `--cflags --libs` for C programs, `worker` for the Go pool."""

from __future__ import annotations

import argparse
import os
import sys


def flags(words: list[str]) -> None:
    """Prints what was asked for, on one line; needs nothing but the standard library."""
    import pyproc

    parser = argparse.ArgumentParser(prog="python -m pyproc", description=__doc__)
    parser.add_argument("--cflags", action="store_true", help="flags for the compiler")
    parser.add_argument("--libs", action="store_true", help="flags for the linker")
    parser.add_argument("--version", action="version", version=pyproc.__version__)
    asked = parser.parse_args(words)
    found = []
    if asked.cflags:
        found.append(f"-I{pyproc.get_include()}")
    if asked.libs:
        library = os.path.join(os.path.dirname(os.path.abspath(pyproc.__file__)), "lib")
        found += [f"-L{library}", "-lpyproc", f"-Wl,-rpath,{library}"]
    print(" ".join(found))


def main() -> None:
    """Flags for C programs, or a command."""
    words = sys.argv[1:]
    if words and words[0] in ("--cflags", "--libs", "--version"):
        flags(words)
        return
    if words[:1] == ["worker"]:
        from pyproc.gopool.run import main as serve

        serve(words[1:])
    from pyproc.cli import main as command

    sys.exit(command(words))


if __name__ == "__main__":
    main()
