"""App and expose: what is taken, what is refused and why."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from pyproc.errors import Error
from pyproc.worker import registry
from pyproc.worker.registry import App


def twice(value: int) -> int:
    return 2 * value


def test_expose_works_with_and_without_arguments_and_changes_nothing() -> None:
    app = App()

    @app.expose
    def one() -> int:
        return 1

    @app.expose(name="zwei")
    def two() -> int:
        return 2

    assert app.expose(twice, name="double") is twice
    assert dict(app.functions) == {"one": one, "zwei": two, "double": twice}
    assert (one(), two()) == (1, 2)


def test_the_functions_of_an_app_cannot_be_changed_from_outside() -> None:
    app = App()
    with pytest.raises(TypeError):
        app.functions["f"] = twice  # type: ignore[index]


def test_an_app_knows_where_it_was_made() -> None:
    class Special(App):
        def __init__(self) -> None:
            super().__init__()

    for app in (App(), Special()):
        assert app.module == __name__
        assert app.file == __file__


def test_start_hooks_keep_their_order() -> None:
    app = App()
    hooks: list[Callable[[], None]] = [lambda: None, lambda: None]
    for hook in hooks:
        assert app.on_start(hook) is hook
    assert app.start_hooks == tuple(hooks)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(3, "not an int"), ("name", "write @app.expose(name='name')"), (None, None)],
)
def test_what_cannot_be_called_cannot_be_exposed(wrong: Any, words: str | None) -> None:
    app = App()
    if words is None:
        with pytest.raises(TypeError, match="a NoneType"):
            app.expose(name="x")(wrong)
        return
    with pytest.raises(TypeError) as caught:
        app.expose(wrong)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\nb", "a\0", "x" * 256])
def test_a_name_must_be_visible_text_of_bounded_length(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        App().expose(name=name)


def test_a_name_must_be_text() -> None:
    with pytest.raises(TypeError, match="must be a str, not an int"):
        App().expose(name=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("function", [lambda: 0, functools.partial(twice, 1)])
def test_a_function_without_a_name_needs_one(function: Callable[..., Any]) -> None:
    app = App()
    with pytest.raises(ValueError, match="use expose"):
        app.expose(function)
    app.expose(function, name="named")
    assert list(app.functions) == ["named"]


def test_two_functions_cannot_have_one_name_but_the_same_function_may_come_twice() -> None:
    app = App()
    app.expose(twice)
    app.expose(twice)
    with pytest.raises(ValueError, match="already a function exposed as 'twice'"):
        app.expose(math.sqrt, name="twice")


def test_a_notebook_cell_that_is_run_again_replaces_its_function() -> None:
    app = App()

    def make() -> Callable[[], int]:
        def cell() -> int:
            return 1

        cell.__module__ = "__main__"
        return cell

    first, second = make(), make()
    app.expose(first)
    app.expose(second)
    assert app.functions["cell"] is second


def test_a_hook_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="on_start needs a function"):
        App().on_start(3)  # type: ignore[type-var]


def test_run_worker_outside_of_a_pool_says_how_to_serve() -> None:
    with pytest.raises(Error, match=r"pyproc\.Pool"):
        registry.run_worker()


def test_run_worker_inside_a_worker_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "serving", True)
    registry.run_worker()
    assert registry.serving
