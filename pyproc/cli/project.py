"""`pyproc init`: a small application with its configuration and tests."""

from __future__ import annotations

import os
import re

import click

from pyproc.cli.common import Stop, emit, json_option

_APP = '''"""The functions of {name}, run in worker processes."""

import pyproc

app = pyproc.App()


@app.expose
def count_words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())
'''

_TESTS = '''"""The functions are called as a program calls them: through a pool."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import pyproc

CONFIG = Path(__file__).resolve().parent.parent / "pyproc.toml"


@pytest.fixture(scope="module")
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool.from_config(CONFIG) as opened:
        yield opened


def test_words_are_counted(pool: pyproc.Pool) -> None:
    assert pool.call("count_words", "one two  three") == 3


def test_a_wrong_argument_is_refused(pool: pyproc.Pool) -> None:
    with pytest.raises(pyproc.ValidationError):
        pool.call("count_words", 7)
'''

_CONFIG = """target = "{module}.py"

[pool]
workers = 2
sandbox = "{sandbox}"

[pool.limits]
memory = "256MiB"
cpu_time = 10

[pool.timeouts]
task = 30
"""

_README = """# {name}

    pyproc config check pyproc.toml
    pyproc call {module}.py count_words "some words"
    python -m pytest
"""


@click.command()
@click.argument("folder")
@click.option(
    "--sandbox", type=click.Choice(["none", "baseline", "strict", "compute"]), default="baseline",
    show_default=True,
)  # fmt: skip
@json_option
def init(folder: str, sandbox: str, as_json: bool) -> None:
    """Makes FOLDER with an application, its configuration and tests. Nothing is overwritten."""
    name = os.path.basename(os.path.abspath(folder))
    module = re.sub(r"\W", "_", name)
    if not module.isidentifier():
        raise Stop(f"{name!r} gives no name for a module: begin it with a letter")
    files = {
        f"{module}.py": _APP,
        "pyproc.toml": _CONFIG,
        "README.md": _README,
        "tests/test_functions.py": _TESTS,
    }
    there = [file for file in files if os.path.lexists(os.path.join(folder, file))]
    if there:
        raise Stop(f"{os.path.join(folder, there[0])!r} exists; nothing was written")
    for file, text in files.items():
        place = os.path.join(folder, file)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if file.endswith(".py") and "test" in file:
            filled = text
        else:
            filled = text.format(name=name, module=module, sandbox=sandbox)
        with open(place, "x", encoding="utf-8") as made:
            made.write(filled)
    names = [os.path.join(folder, file) for file in files]
    emit({"made": names}, as_json, lambda: click.echo("\n".join(names)))
