"""The command `pyproc`: pools and daemons from a shell. One file a group of commands.

Exit codes: 0 done; 1 the answer is no (a check failed, the function raised); 2 the command line, a
file or the configuration is wrong; 3 nothing answers at the socket; 4 access denied; 5 the call
ended without an answer of its function; 6 something that is not installed is needed; 70 a mistake
of pyproc itself; 130 interrupted. Errors are one sentence on stderr; with --json, {"error": ...} on
stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and answers its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["worker"] and words[1:2] != ["--help"]:  # needs nothing that is an extra
        from pyproc.gopool.run import main as serve

        serve(words[1:])
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        sys.stderr.write(
            f"pyproc: the command line needs {error.name}: pip install 'pyproc-native[cli]'\n"
        )
        return 6
    from pyproc.cli.root import run

    return run(words)


def entry() -> None:
    """The console script."""
    sys.exit(main())
