"""The application whose one function runs whatever attack it is told to."""

from __future__ import annotations

from typing import Any

from security.attacks import execution, files, kernel, network, processes, resources
from security.attacks.registry import ATTACKS, Refused

from pyproc import App

app = App()
__all__ = ["app", "execution", "files", "kernel", "network", "processes", "resources"]


@app.expose
def run(name: str, bait: dict[str, Any]) -> Any:
    """What the attack got. Whatever it raises is its failure."""
    got = ATTACKS[name].deed(bait)
    if got is None or got is False:
        raise Refused(f"{name} got {got!r}")
    return got if isinstance(got, bytes) else True


@app.expose
def keep(text: str) -> str:
    """A file in the scratch directory; its path."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(text)
    return file.name
