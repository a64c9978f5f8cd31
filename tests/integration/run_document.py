"""Runs the Python blocks of a Markdown file as its reader would, in order and in one namespace.

    python run_document.py FILE.md      in an empty folder

A block that begins with `# file: name.py` is written to that file instead. A ```text block right
after a Python block is what that one prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


def run(document: Path) -> int:
    """How many blocks were run. SystemExit with both texts when one printed something else."""
    source = document.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    count, printed = 0, ""
    for found in _FENCE.finditer(source):
        language, text = found.groups()
        line = source.count("\n", 0, found.start()) + 1
        if language == "python" and (named := _FILE.match(text)):
            Path(named[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text, f"{document.name}:{line}", "exec"), names)
            printed = output.getvalue()
            count += 1
        elif language == "text" and printed != text:
            raise SystemExit(f"{document.name}:{line}: says\n{text}\nand it printed\n{printed}")
    return count


if __name__ == "__main__":
    sys.path[0] = ""  # as in a notebook, or after `python -i`
    print(run(Path(sys.argv[1])), "blocks ran")
