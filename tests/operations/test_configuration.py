"""File, environment, arguments: the later wins, each wrong key is named with the nearest known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyproc import ConfigError, Pool, Rate, Sandbox
from pyproc import _toml as toml
from pyproc.configuration import leaves, load

FILE = """
target = "served.py"

[pool]
workers = 4
limits = { memory = "512MiB", cpu_time = 30 }

[pool.timeouts]
task = 60
queue = "none"

[pool.rate]
"d*" = 4
die = { calls = 3, by = "key" }

[audit]
path = "a.jsonl"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that is as it should be."""
    path = tmp_path / "pyproc.toml"
    path.write_text(FILE)
    return path


def test_the_later_source_wins_key_by_key(file: Path) -> None:
    found = load(
        file,
        environment={"PYPROC_POOL_LIMITS_MEMORY": "64MiB", "PYPROC_POOL_WORKERS": "5"},
        arguments={"pool.workers": 6},
    )
    options = found.pool_options()
    assert options["workers"] == 6
    assert (options["limits"].memory, options["limits"].cpu_time) == ("64MiB", 30)
    assert (options["timeouts"].task, options["timeouts"].queue) == (60, None)
    assert options["rate"] == {"d*": 4, "die": Rate(calls=3, by="key")}
    sources = {one.key: one.source for one in found.settings}
    assert sources["pool.workers"] == "argument"
    assert sources["pool.limits.memory"] == "PYPROC_POOL_LIMITS_MEMORY"
    assert sources["pool.limits.cpu_time"] == f"{file}:6"


def test_paths_in_a_file_start_where_the_file_is(file: Path) -> None:
    found = load(file, environment={})
    assert found.target() == str(file.parent / "served.py")
    assert found.pool_options()["audit"].path == str(file.parent / "a.jsonl")


def test_the_environment_may_name_the_file(file: Path) -> None:
    found = load(environment={"PYPROC_CONFIG": str(file)})
    assert found.pool_options()["workers"] == 4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[pool]\nworkes = 3", 2, "pool.workes: there is no such key; did you mean 'workers'?"),
        ("[pol]\nworkers = 3", 1, "pol: there is no such key; did you mean 'pool'?"),
        ("[pool]\nworkers = 'x'", 2, "pool.workers: expected `int`, got `str`"),
        ("[pool]\n\n[pool.limits]\nmemory = '12'", 4, "Limits.memory='12': at least 1MiB"),
        ("[pool]\nlimits = { memroy = '1MiB' }", 2, "did you mean 'memory'?"),
        ("[pool.timeouts]\ntask = 'none'\nqueue = -1", 3, "a time is above 0 seconds"),
        ("[pool]\nstart_method = 'fork'", 2, "pool.start_method"),
        ("[pool]\nsandbox = 'strikt'", None, "did you mean 'strict'?"),
        ("[pool.sandbox]\nprofile = 'strict'\nread = ['relative']", 3, "the path is relative"),
        ("[pool.recycle]\nmax_tasks = 0", 2, "1 or more"),
        ("[pool]\nworkers = 1\nmax_workers = 2", None, "contradict"),
        ("[audit]\nfsync = 'always'", 1, "path is missing"),
        ("[audit]\npath = 'a'\nfsync = 'sometimes'", 3, "audit.fsync"),
        ("[pool.rate]\nf = { calls = 'x' }", 2, "pool.rate.f.calls: expected `float`"),
        ("[pool]\nenv = { A = 1 }", 2, "pool.env.A: expected `str`, got `int`"),
        ("[pool\nworkers = 1", 1, "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_reason(
    file: Path, text: str, line: int | None, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, environment={})
    assert words in str(caught.value)
    assert caught.value.line == line
    assert caught.value.source == str(file)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PYPROC_POOL_WORKRES": "3"}, "did you mean 'PYPROC_POOL_WORKERS'?"),
        ({"PYPROC_POOL_WORKERS": "x"}, "PYPROC_POOL_WORKERS: pool.workers: expected `int`"),
        ({"PYPROC_POOL_LIMITS_MEMORY": "1"}, "PYPROC_POOL_LIMITS_MEMORY: pool.limits.memory"),
        ({"PYPROC_AUDIT_PAHT": "x"}, "did you mean 'PYPROC_AUDIT_PATH'?"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment=variables)
    assert words in str(caught.value)


def test_other_variables_with_our_prefix_are_not_ours_to_judge() -> None:
    found = load(environment={"PYPROC_SOCKET_PATH": "/x", "PYPROC_SANDBOX": "strict"})
    assert found.pool_options() == {}


def test_text_from_the_environment_stays_text_where_text_is_wanted() -> None:
    found = load(environment={"PYPROC_AUDIT_PATH": "123", "PYPROC_POOL_PRELOAD": '["json"]'})
    assert found.pool_options()["audit"].path == "123"
    assert found.pool_options()["preload"] == ["json"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"pool.worker": 1}, "did you mean 'workers'?"), ({"pool.workers": "x"}, "expected `int`")],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match="argument: pool.worker") as caught:
        load(environment={}, arguments=arguments)
    assert words in str(caught.value)


def test_a_sandbox_may_be_a_name_or_a_table(file: Path) -> None:
    file.write_text("[pool]\nsandbox = 'strict'\n")
    assert load(file, environment={}).pool_options()["sandbox"] == "strict"
    file.write_text("[pool.sandbox]\nprofile = 'strict'\nnetwork = true\n")
    wanted = Sandbox("strict", network=True)
    assert load(file, environment={}).pool_options()["sandbox"] == wanted
    file.write_text("[pool]\nsandbox = 'strict'\n")
    found = load(file, environment={"PYPROC_POOL_SANDBOX_NETWORK": "true"})
    assert found.pool_options()["sandbox"] == wanted


def test_no_two_keys_share_a_variable() -> None:
    names = ["_".join(map(str, keys)).upper() for keys, _ in leaves()]
    assert len(names) == len(set(names))


def test_every_pool_key_is_an_option_of_pool() -> None:
    import inspect

    known = set(inspect.signature(Pool).parameters)
    assert {keys[1] for keys, _ in leaves() if keys[0] == "pool"} <= known


def test_a_pool_is_opened_from_a_file_and_options_win(app: str, file: Path) -> None:
    with Pool.from_config(file, workers=1) as pool:
        assert pool.call("double", 2) == 4
        assert repr(pool) == "<pyproc.Pool open max_workers=1>"
    assert (file.parent / "a.jsonl").exists()
    file.write_text("[pool]\nworkers = 1\n")
    with pytest.raises(ConfigError, match="'target' is missing"):
        Pool.from_config(file)


def test_lines_are_found_through_strings_comments_and_lists() -> None:
    text = """
# a = 1
a = '''
b = 2
[c]
'''
"b c".d = 1 # [x]
[[list]]
x = [
  1, # ]
  2,
]
y = "#"
[[list]]
x = 1
[list.inner]
z = { p = 1, q = 2 }
"""
    found = toml.lines_of(text)
    assert found["a",] == 3
    assert found["b c", "d"] == 7
    assert (found["list", 0, "x"], found["list", 0, "y"], found["list", 1, "x"]) == (9, 13, 15)
    assert found["list", 1, "inner", "z"] == 17
    assert toml.line_at(("list", 1, "inner", "z", "p"), found) == 17
    assert ("c",) not in found
    assert ("x",) not in found
