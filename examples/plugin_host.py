"""A program with plug-ins that it does not trust.

    python examples/plugin_host.py

Each plug-in has workers and a strict sandbox of its own: no files but what it imports, no network,
no processes. One that crashes, hangs or reaches for a secret costs its own answer.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyproc

#: Would be files that users install.
PLUGINS = {
    "shout": "def transform(text): return text.upper() + '!'",
    "crash": "import os\ndef transform(text): os.abort()",
    "hang": "def transform(text):\n    while True: pass",
    "spy": "def transform(text): return open('/etc/passwd').read()",
}
HEAD = "import pyproc\napp = pyproc.App()\n"
FOOT = "\napp.expose(transform)\n"


def main() -> None:
    """Prints each plug-in's answer."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in PLUGINS.items():
            file = Path(folder) / f"{name}_plugin.py"
            file.write_text(HEAD + source + FOOT)
            limits = pyproc.Limits(memory="128MiB", processes=0)
            with pyproc.Pool(file, workers=1, sandbox="strict", limits=limits, cwd="/") as plugin:
                try:
                    answer = plugin.options(timeout=2).call("transform", "hello")
                except (pyproc.Error, OSError) as error:
                    answer = type(error).__name__
            print(f"{name}: {answer}")


if __name__ == "__main__":
    main()
