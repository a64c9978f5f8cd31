"""Hello: every kind of target, the host's files, and starts that fail with a clear word."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import wire
from wire import Child

from pyproc import errors

APP = """
    from pyproc.worker.registry import App
    app = App()
    @app.expose
    def where() -> object:
        return [__name__, __file__]
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text))


def start(child: Child, kind: int, target: str, **options: Any) -> None:
    got, fields = child.hello(kind, target, **options)
    assert got == wire.HELLO_REPLY, [wire.Node(node).message for node in fields[3]]


def refused(kind: int, target: str, **options: Any) -> list[wire.Node]:
    """The nodes of a start that fails; the worker then leaves with code 1."""
    with Child() as child:
        got, fields = child.hello(kind, target, **options)
        assert got == wire.FAILURE
        assert wire.one(fields, 2) == errors.KIND_START
        assert child.wait() == 1
        return [wire.Node(node) for node in fields[3]]


# ---- targets ----


def test_an_attribute_may_be_an_app_a_function_or_a_list_of_functions(tmp_path: Path) -> None:
    more = "\ndef one():\n    return 1\nboth = [where, one]\nclass Space:\n    two = (one,)\n"
    write(tmp_path, {"mod.py": textwrap.dedent(APP) + more})
    for target, function in (
        ("mod:app", "where"),
        ("mod:one", "one"),
        ("mod:both", "one"),
        ("mod:Space.two", "one"),
    ):
        with Child() as child:
            start(child, wire.ATTRIBUTE, target, path=[str(tmp_path), *sys.path])
            assert child.result(function) in (1, ["mod", str(tmp_path / "mod.py")])


def test_a_file_is_a_module_with_its_directory_first_on_the_path(tmp_path: Path) -> None:
    write(tmp_path, {"my-app.py": "import helper\n" + textwrap.dedent(APP), "helper.py": ""})
    with Child() as child:
        start(child, wire.FILE, str(tmp_path / "my-app.py"))
        assert child.result("where") == ["my_app", str(tmp_path / "my-app.py")]


def test_a_file_named_like_a_module_in_use_does_not_take_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"os.py": APP})
    with Child() as child:
        start(child, wire.FILE, str(tmp_path / "os.py"))
        assert child.result("where") == ["pyproc_app_os", str(tmp_path / "os.py")]


def test_a_script_with_expose_and_run_worker_is_served(tmp_path: Path) -> None:
    text = """
        from pyproc.worker.registry import expose, run_worker
        @expose
        def one(): return 1
        @expose(name="two")
        def other(): return 2
        assert run_worker() is None
    """
    write(tmp_path, {"script.py": text})
    with Child() as child:
        start(child, wire.FILE, str(tmp_path / "script.py"))
        assert [child.result("one"), child.result("two")] == [1, 2]


def test_functions_come_by_name_or_by_value(tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    write(tmp_path, {"mod.py": "class A:\n    @staticmethod\n    def f(): return 'f'\n"})
    captured = 7
    functions = [
        {1: "f", 2: "mod", 3: "A.f"},
        {1: "g", 2: "__main__", 3: "<lambda>", 5: cloudpickle.dumps(lambda x: x + captured)},
    ]
    with Child() as child:
        path = [str(tmp_path), *sys.path]
        start(child, wire.FUNCTIONS, "", functions=functions, path=path)
        assert [child.result("f"), child.result("g", 1)] == ["f", 8]


@pytest.mark.parametrize("with_init", [False, True])
def test_a_module_that_only_the_host_can_import_is_loaded_from_the_hosts_file(
    tmp_path: Path, with_init: bool
) -> None:
    files = {"pkg/sub/mod.py": "import pkg.sub\n" + textwrap.dedent(APP)}
    if with_init:
        files |= {"pkg/__init__.py": "value = 1", "pkg/sub/__init__.py": "from pkg import value"}
    write(tmp_path, files)
    with Child() as child:
        file = str(tmp_path / "pkg/sub/mod.py")
        start(child, wire.ATTRIBUTE, "pkg.sub.mod:app", file=file)
        assert child.result("where") == ["pkg.sub.mod", file]


def test_the_hosts_file_wins_over_another_one_that_the_path_has(tmp_path: Path) -> None:
    write(tmp_path, {"a/mod.py": APP, "b/mod.py": "raise AssertionError('the wrong one')"})
    with Child() as child:
        file = str(tmp_path / "a/mod.py")
        path = [str(tmp_path / "b"), *sys.path]
        start(child, wire.ATTRIBUTE, "mod:app", file=file, path=path)
        assert child.result("where") == ["mod", file]


def test_the_path_is_exactly_the_hosts(tmp_path: Path) -> None:
    text = "import sys\nseen = list(sys.path)\ndef path(): return seen\n"
    write(tmp_path, {"mod.py": text})
    with Child() as child:
        path = [str(tmp_path), *sys.path]
        start(child, wire.ATTRIBUTE, "mod:path", path=path)
        assert child.result("path") == path


# ---- refusals ----


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("x = 1", "mod:nothing", "there is no 'nothing' in module 'mod'"),
        ("x = 1", "mod:x", "must be a pyproc.App, a function, or a list"),
        ("def f(): 0\nfs = [f, lambda: 0]", "mod:fs", "has no name to be called by"),
        ("def f(): 0\ndef g(): 0\ng.__name__ = 'f'\nfs = [f, g]", "mod:fs", "already a function"),
        ("from pyproc.worker.registry import App\napp = App()", "mod:app", "exposes no function"),
    ],
)
def test_a_bad_attribute_is_refused_with_the_reason(
    tmp_path: Path, text: str, target: str, words: str
) -> None:
    write(tmp_path, {"mod.py": text})
    (node,) = refused(wire.ATTRIBUTE, target, path=[str(tmp_path), *sys.path])
    assert node.type_name == "pyproc.WorkerStartError"
    assert words in node.message


TWO = "from pyproc.worker.registry import App, expose\na = App()\nb = App()\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no App in"),
        (TWO, "has 2 Apps (a, b)"),
        (TWO.replace("b = App()", "@expose\ndef f(): 0"), "use one of the two"),
    ],
)
def test_a_file_without_exactly_one_set_of_functions_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, {"mod.py": text})
    (node,) = refused(wire.FILE, str(tmp_path / "mod.py"))
    assert words in node.message


def test_a_file_that_is_not_there_is_refused() -> None:
    (node,) = refused(wire.FILE, "/nonexistent/app.py")
    assert "there is no file" in node.message


def test_an_import_that_raises_comes_with_the_users_traceback_only(tmp_path: Path) -> None:
    write(tmp_path, {"mod.py": "import other\n", "other.py": "def f():\n    1 / 0\nf()\n"})
    (node,) = refused(wire.MODULE, "mod", path=[str(tmp_path), *sys.path])
    assert node.type_name == "ZeroDivisionError"
    files = [line for line in node.traceback.splitlines() if line.startswith("  File")]
    assert [str(tmp_path) in line for line in files] == [True, True, True]


def test_a_syntax_error_shows_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"mod.py": "def f(:\n    pass\n"})
    (node,) = refused(wire.MODULE, "mod", path=[str(tmp_path), *sys.path])
    assert node.type_name == "SyntaxError"
    assert 'mod.py", line 1\n    def f(:\n          ^' in node.traceback


def test_a_missing_module_says_where_was_looked(tmp_path: Path) -> None:
    (node,) = refused(wire.MODULE, "no_such_module", path=[str(tmp_path), *sys.path])
    assert node.type_name == "ModuleNotFoundError"
    assert str(tmp_path) in node.notes[0]


def test_an_application_that_exits_while_imported_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, {"mod.py": "import sys\nsys.exit(3)\n"})
    root, cause = refused(wire.MODULE, "mod", path=[str(tmp_path), *sys.path])
    assert "called sys.exit(3) while it was imported" in root.message
    assert cause.type_name == "SystemExit"
    assert "mod.py" in cause.traceback


def test_a_start_hook_that_raises_fails_the_start(tmp_path: Path) -> None:
    text = textwrap.dedent(APP) + "@app.on_start\ndef hook():\n    raise OSError(5, 'no model')\n"
    write(tmp_path, {"mod.py": text})
    (node,) = refused(wire.MODULE, "mod", path=[str(tmp_path), *sys.path])
    assert node.type_name == "OSError"
    assert "in hook" in node.traceback


@pytest.mark.parametrize("what", ["prefix", "base_prefix", "version"])
def test_another_interpreter_than_asked_for_is_refused(tmp_path: Path, what: str) -> None:
    (node,) = refused(wire.MODULE, "json", path=[str(tmp_path), *sys.path], **{what: "/other"})
    assert "fell back" in node.message
    assert "'/other'" in node.message


def test_without_a_pools_descriptors_the_program_says_who_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(wire.MAIN)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is started by a pool" in done.stderr


def other_interpreters() -> list[str]:
    """Every other Python from 3.11 on that this machine has, one of each version."""
    found: dict[str, str] = {}
    versions = sorted(Path.home().glob(".pyenv/versions/3.*/bin"))
    folders = [Path("/usr/bin"), Path("/usr/local/bin"), *versions]
    for folder in folders:
        for name in ("python3.11", "python3.12", "python3.13", "python3.14"):
            place = folder / name
            if place.exists() and os.path.realpath(place) != os.path.realpath(sys.executable):
                found.setdefault(name, str(place))
    return list(found.values())


@pytest.mark.parametrize("python", other_interpreters())
def test_another_interpreter_without_pyproc_serves_too(tmp_path: Path, python: str) -> None:
    text = (
        APP
        + """
    @app.expose
    def fail(): raise ValueError("there")
    @app.expose
    def double(a: int, *, b: float = 2) -> float: return a * b
    """
    )
    write(tmp_path, {"other_app.py": text})
    with Child(python=python) as child:
        # No path is sent: the interpreter's own is kept.
        start(child, wire.FILE, str(tmp_path / "other_app.py"), path=[])
        assert child.result("where") == ["other_app", str(tmp_path / "other_app.py")]
        assert child.result("double", 2, b=1.5) == 3.0
        assert child.failure("double", "2")[0] == errors.KIND_EXCEPTION or child.path
        kind, nodes = child.failure("fail")
        assert (kind, nodes[0].message) == (errors.KIND_EXCEPTION, "there")
        assert "in fail" in nodes[0].traceback
