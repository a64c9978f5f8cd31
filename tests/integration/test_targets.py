"""What a pool can be told to run, and that workers import what the host would."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hosts import python_path

import pyproc
from pyproc import Pool, WorkerStartError

ROOT = Path(__file__).resolve().parents[2]
APP = """
import pyproc
app = pyproc.App()
@app.expose
def where() -> str:
    return __name__
@app.expose(name="double")
def twice(n: int) -> int:
    return 2 * n
class Holder:
    inner = app
"""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder with these files in it."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text))
    return folder


def run(folder: Path, *command: str, **env: str) -> str:
    """The output of a host program; its exit status must be 0."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": python_path(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path with `my_app.py`."""
    monkeypatch.syspath_prepend(str(write(tmp_path, {"my_app.py": APP})))
    yield tmp_path
    sys.modules.pop("my_app", None)


@pytest.mark.parametrize("target", ["my_app:app", "my_app:Holder.inner", "my_app"])
def test_a_name_is_imported(project: Path, target: str) -> None:
    with Pool(target, workers=1) as pool:
        assert pool.call("where") == "my_app"
        assert pool.call("double", 4) == 8
        assert set(pool.functions()) == {"where", "double"}


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_loaded(tmp_path: Path, as_text: bool) -> None:
    file = write(tmp_path, {"some app/file-app.py": APP}) / "some app/file-app.py"
    with Pool(str(file) if as_text else file, workers=1) as pool:
        assert pool.call("double", 4) == 8


def test_a_relative_path_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"my_app.py": APP}))
    with Pool("./my_app.py", workers=1, cwd="/") as pool:
        assert pool.call("double", 4) == 8


def test_a_module_an_app_and_functions_are_found_by_where_they_are(project: Path) -> None:
    import my_app  # type: ignore[import-not-found]

    for target in (my_app, my_app.app, [my_app.where, my_app.twice], my_app.where):
        with Pool(target, workers=1) as pool:
            assert pool.call("where") == "my_app"


def test_functions_of_a_list_have_their_own_names(project: Path) -> None:
    import my_app

    with Pool([my_app.twice], workers=1) as pool:
        assert pool.functions() == {"twice": "(n: int) -> int"}


def test_a_module_made_at_run_time_is_refused_with_a_reason() -> None:
    module = types.ModuleType("made_here")
    with pytest.raises(WorkerStartError, match="made_here"):
        Pool(module, workers=1)


def test_closures_and_lambdas_go_by_cloudpickle() -> None:
    pytest.importorskip("cloudpickle")
    factor = 3

    def times(n: int) -> int:
        return factor * n

    with Pool([times], workers=1) as pool:
        assert pool.call("times", 5) == 15


def test_without_cloudpickle_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match="pip install cloudpickle"):
        Pool([lambda: 1], workers=1)


@pytest.mark.parametrize("target", ["", "no such", "a:b:c", 5, [], [1], None])
def test_what_is_no_target_is_refused(target: object) -> None:
    with pytest.raises((TypeError, ValueError), match="target"):
        Pool(target, workers=1)  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.py"):
        Pool(tmp_path / "nothing.py")


def test_the_scripts_style_of_the_guide_works(tmp_path: Path) -> None:
    script = """
        import pyproc
        @pyproc.expose
        def hello(name): return f"hello {name}"
        if __name__ == "__main__":
            pyproc.run_worker()
        """
    with Pool(write(tmp_path, {"worker.py": script}) / "worker.py", workers=1) as pool:
        assert pool.call("hello", "you") == "hello you"
    bare = script.replace('if __name__ == "__main__":\n            pyproc', "pyproc")
    with Pool(write(tmp_path, {"bare.py": bare}) / "bare.py", workers=1) as pool:
        assert pool.call("hello", "you") == "hello you"


MAIN = """
    import os
    print("main runs", os.getpid())
    import pyproc
    CONSTANT = 5
    def add(n: int) -> int:
        return n + CONSTANT
    if __name__ == "__main__":
        with pyproc.Pool([add], workers=1) as pool:
            print(pool.call("add", 1))
    """


def test_the_main_script_is_not_run_again(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    write(tmp_path, {"main.py": MAIN})
    lines = run(tmp_path, "main.py").splitlines()
    assert lines[1:] == ["6"]


def test_a_notebooks_cell_and_directory_are_reached(tmp_path: Path) -> None:
    """A kernel has '' first on sys.path, and its cells are no file."""
    pytest.importorskip("cloudpickle")
    write(tmp_path, {"helper.py": "def base(): return 40\n", "my_app.py": APP})
    cell = """
        import sys; assert sys.path[0] == ""
        import pyproc, helper
        def answer(n): return helper.base() + n
        with pyproc.Pool([answer], workers=1) as pool: print(pool.call("answer", 2))
        with pyproc.Pool("my_app:app", workers=1) as pool: print(pool.call("double", 2))
        """
    assert run(tmp_path, "-c", textwrap.dedent(cell)).split() == ["42", "4"]


def test_a_src_layout_under_pytest_is_reached(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
            "src/shop/__init__.py": "",
            "src/shop/app.py": APP,
            "tests/conftest.py": "",
            "tests/helpers.py": "def half(n: int) -> int: return n // 2\n",
            "tests/test_shop.py": """
                import pyproc, helpers
                def test_app():
                    with pyproc.Pool("shop.app:app", workers=1) as pool:
                        assert pool.call("where") == "shop.app"
                def test_helper():
                    with pyproc.Pool([helpers.half], workers=1) as pool:
                        assert pool.call("half", 4) == 2
                """,
        },
    )
    assert "2 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_an_editable_install_by_a_path_file_or_a_finder_is_reached(tmp_path: Path) -> None:
    write(tmp_path, {"code/edited.py": APP, "site/finder.pth": "import edited_finder\n"})
    finder = f"""
        import importlib.machinery, importlib.util, sys
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "edited":
                    place = {str(tmp_path)!r} + "/code/edited.py"
                    return importlib.util.spec_from_file_location(name, place)
        sys.meta_path.append(Finder)
        """
    write(tmp_path, {"site/edited_finder.py": finder})
    program = """
        import site, sys
        site.addsitedir(sys.argv[1])
        import pyproc
        with pyproc.Pool("edited:app", workers=1) as pool: print(pool.call("where"))
        """
    write(tmp_path, {"host.py": program, "paths/code.pth": f"{tmp_path}/code\n"})
    assert run(tmp_path, "host.py", str(tmp_path / "paths")) == "edited\n"
    assert run(tmp_path, "host.py", str(tmp_path / "site")) == "edited\n"


def test_env_cwd_and_path_are_the_workers(tmp_path: Path) -> None:
    app = """
        import os, sys
        import pyproc
        @pyproc.expose
        def seen():
            env = os.environ
            return [os.getcwd(), env.get("ADDED"), sys.path[0], "HIDDEN" in env]
        """
    write(tmp_path, {"seen_app.py": app})
    os.environ["HIDDEN"] = "secret"
    try:
        with Pool(
            "seen_app", workers=1, path=[str(tmp_path)], cwd=tmp_path, env={"ADDED": "yes"}
        ) as pool:
            assert pool.call("seen") == [str(tmp_path), "yes", str(tmp_path), False]
    finally:
        del os.environ["HIDDEN"]


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no other interpreter here")
def test_another_interpreter_runs_the_app(tmp_path: Path) -> None:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if version != "True\n":
        pytest.skip("the system's Python is older than 3.11")
    app = "import sys, pyproc\n@pyproc.expose\ndef prefix() -> str: return sys.prefix\n"
    file = write(tmp_path, {"other.py": app}) / "other.py"
    with Pool(file, workers=1, python="/usr/bin/python3") as pool:
        assert pool.call("prefix") == "/usr"


def test_a_missing_interpreter_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no/such/python"):
        pyproc.Pool("my_app", python="/no/such/python")
