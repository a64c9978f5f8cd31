"""Annotations, made into checks before the function is seen.

Each function becomes a plan. For the plain built-ins a look is enough (`shapes.py`), which C
does without any import; whatever else is annotated goes through msgspec, and only when such a
call comes. String annotations are resolved in the function's own module.
"""

from __future__ import annotations

import sys

from pyproc import errors
from pyproc.worker.attached import OrFile, checkable, is_file
from pyproc.worker.failure import Refusal, as_text, type_name_of
from pyproc.worker.shapes import ANY, ANYTHING, PLAIN, item_shape, shape_of, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyproc.worker.batches import Batched
    from pyproc.worker.registry import App
    from pyproc.worker.shapes import Shape

_VARARGS, _VARKEYWORDS = 0x04, 0x08
#: Bits of a function's code, and what the host calls such a function (FunctionKind).
_KINDS = ((0x80, 1), (0x20, 2), (0x200, 3))
_GENERATORS = (2, 3)
#: Annotations of what is streamed: the first argument is the items' type.
_STREAMED = frozenset({"Iterator", "Iterable", "Generator",
                       "AsyncIterator", "AsyncIterable", "AsyncGenerator"})  # fmt: skip
_SIMPLE_FLAGS_MAX = 40


class Plan:
    """How one function is called. Made at start, completed when a value needs more."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.positional: tuple[str, ...] = ()
        self.keyword_only: tuple[str, ...] = ()
        self.rest: str | None = None  # the name of *args
        self.keywords: str | None = None  # the name of **kwargs
        self.annotations: dict[str, object] = {}
        self.plain = type(function).__name__ == "function" and not hasattr(function, "__wrapped__")
        self.optional: set[str] = set()  # that have a default, of one that is not plain
        self._hints: dict[str, Any] | None = None
        self.kind = _kind_of(function)
        self.batch: Batched | None = None  # of one that takes several calls at once
        if self.plain:
            self._read_code()
        else:
            self._read_signature()

    def _read_code(self) -> None:
        code = self.function.__code__
        names = code.co_varnames
        at = code.co_argcount + code.co_kwonlyargcount
        self.positional = names[: code.co_argcount]
        self.keyword_only = names[code.co_argcount : at]
        if code.co_flags & _VARARGS:
            self.rest = names[at]
            at += 1
        if code.co_flags & _VARKEYWORDS:
            self.keywords = names[at]
        self.annotations = self.function.__annotations__

    def _read_signature(self) -> None:
        """A method, a class, a partial, a decorated function: inspect knows them all."""
        import inspect

        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # a built-in without a signature takes what it takes
            self.rest, self.keywords = "args", "kwargs"
            return
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = parameter.name
            elif parameter.kind is parameter.VAR_KEYWORD:
                self.keywords = parameter.name
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self.keyword_only += (parameter.name,)
            else:
                self.positional += (parameter.name,)
            if parameter.default is not parameter.empty:
                self.optional.add(parameter.name)
            if parameter.annotation is not parameter.empty:
                self.annotations[parameter.name] = parameter.annotation
        if signature.return_annotation is not signature.empty:
            self.annotations["return"] = signature.return_annotation

    def entry(self) -> tuple[Any, ...]:
        """What C needs: function, names, how many may be positional, shapes, plan."""
        names = self.positional + self.keyword_only
        shapes = [self._shape(name) for name in (*names, self.rest, self.keywords, "return")]
        return (self.function, names, table(shapes), len(self.positional), self)

    def checks(self, name: str) -> bool:
        """Whether a parameter, or "return", takes less than any value."""
        return self._shape(name) is not ANYTHING

    def _shape(self, name: str | None) -> Shape:
        if name is None or name not in self.annotations:
            return ANYTHING
        module = getattr(self.function, "__globals__", {})
        if name == "return" and self.kind in _GENERATORS:
            item = item_shape(self.annotations[name], module, _streamed_names, _item_of)
            if item is not None:
                return item
        return shape_of(self.annotations[name], module)

    # ---- the slow paths, called by C ----

    def arguments(
        self, values: tuple[Any, ...], keywords: tuple[str, ...] | None
    ) -> tuple[Any, ...]:
        """The values as their annotations want them. Wrong numbers are the function's to say."""
        hints = self.hints()
        count = len(values) - len(keywords or ())
        known = set(self.positional + self.keyword_only)
        checked = []
        for at, value in enumerate(values):
            if at >= count:
                label = keywords[at - count]  # type: ignore[index]
                name = label if label in known else self.keywords
            elif at < len(self.positional):
                name = label = self.positional[at]
            else:
                name, label = self.rest, None
            hint = hints.get(name, ANY) if name is not None else ANY
            if hint is not ANY:
                path = f"argument {label!r}" if label is not None else f"argument {at}"
                value = self._convert(value, hint, path)
            checked.append(value)
        return tuple(checked)

    def result(self, value: Any) -> Any:
        """The result as it is carried: awaited, checked, converted."""
        kind = type(value).__name__
        if kind == "coroutine":
            from pyproc.worker.tasks import run_coroutine

            value = run_coroutine(value)
        elif kind in ("generator", "async_generator"):
            raise Refusal(
                errors.KIND_EXCEPTION,
                "TypeError",
                f"{self.name}() is a generator function, and a call carries one value: "
                f"use stream({self.name!r}, ...) or astream instead",
            )
        if "return" not in self.annotations:
            return value
        hint = self.hints().get("return", ANY)
        return value if hint is ANY else self._convert_result(value, hint)

    def item(self, value: Any) -> Any:
        """An item of a stream as the annotation of what is yielded wants it."""
        hint = _item_of(self.hints().get("return", ANY))
        return value if hint is None or hint is ANY else self._convert_result(value, hint, "item")

    def hints(self) -> dict[str, Any]:
        """The annotations with their strings resolved. Refusal when one cannot be."""
        if self._hints is None:
            try:
                self._hints = {name: checkable(hint) for name, hint in self._resolve().items()}
            except Exception as error:
                raise Refusal(
                    errors.KIND_EXCEPTION,
                    "TypeError",
                    f"the annotations of {self.name}() cannot be resolved: "
                    f"{type(error).__name__}: {error} (a name that is imported only for type "
                    f"checkers is not there in the worker)",
                ) from None
        return self._hints

    def _resolve(self) -> dict[str, Any]:
        if not any(isinstance(hint, str) for hint in self.annotations.values()):
            return dict(self.annotations)
        import typing

        if self.plain:
            extra = _streamed_names(self.function.__globals__) if self.kind in _GENERATORS else None
            return typing.get_type_hints(self.function, localns=extra, include_extras=True)
        import inspect

        signature = inspect.signature(self.function, eval_str=True)
        found = {p.name: p.annotation for p in signature.parameters.values()}
        found["return"] = signature.return_annotation
        return {name: hint for name, hint in found.items() if hint is not signature.empty}

    def _convert(self, value: Any, hint: Any, path: str) -> Any:
        from pyproc import codec

        if isinstance(hint, OrFile):
            if is_file(value):
                return value
            hint = hint.rest
        elif is_file(value) and isinstance(hint, type) and isinstance(value, hint):
            return value
        if type(value) is memoryview:
            if _takes_views(hint):
                return value
            value = bytes(value)
        try:
            return codec.convert(value, hint, path)
        except errors.ValidationError as error:
            raise Refusal(
                errors.KIND_VALIDATION, "pyproc.ValidationError", str(error), error.path
            ) from None
        except ModuleNotFoundError as error:
            raise _without_msgspec(error) from None
        except TypeError as error:
            raise Refusal(
                errors.KIND_EXCEPTION,
                "TypeError",
                f"{path} of {self.name}(): its annotation cannot be checked: {error}",
            ) from None

    def _convert_result(self, value: Any, hint: Any, path: str = "result") -> Any:
        """Functions return numpy's numbers and subclasses where annotations name the plain ones."""
        try:
            return self._convert(value, hint, path)
        except Refusal:
            if isinstance(hint, type) and isinstance(value, hint) and hint not in PLAIN:
                return value
            simple = _without_numpy(value, 0)
            if simple is value:
                raise
        return self._convert(simple, hint, path)


def plans_of(app: App) -> dict[str, Plan]:
    """A plan for each function that the application exposes."""
    plans = {name: Plan(name, function) for name, function in app.functions.items()}
    if app.batches:
        from pyproc.worker.batches import gathers

        for name, batch in app.batches.items():
            gathers(plans[name], batch)
    return plans


def _kind_of(function: Any) -> int:
    while hasattr(function, "func") and hasattr(function, "keywords"):  # functools.partial
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    flags = getattr(code, "co_flags", 0)
    return next((kind for bit, kind in _KINDS if flags & bit), 0)


def _streamed_names(module: dict[str, Any]) -> dict[str, Any]:
    """Names that a function which came by cloudpickle has lost: only its annotation used them."""
    import collections.abc

    return {name: getattr(collections.abc, name) for name in _STREAMED if name not in module}


def _item_of(hint: Any) -> Any:
    """Of Iterator[T] and its kin the T; None of other annotations."""
    origin = getattr(hint, "__origin__", None)
    name = getattr(origin, "__name__", "")
    if getattr(origin, "__module__", "") != "collections.abc" or name not in _STREAMED:
        return None
    arguments = getattr(hint, "__args__", ())
    return arguments[0] if arguments else None


def _takes_views(hint: Any) -> bool:
    """Whether a memoryview goes as it is; elsewhere it stands for bytes."""
    if hint is memoryview or getattr(hint, "__name__", "") == "Buffer":
        return True
    return any(_takes_views(part) for part in getattr(hint, "__args__", ()) if part is not hint)


def _without_msgspec(error: ModuleNotFoundError) -> BaseException:
    if error.name != "msgspec":
        return error
    return Refusal(
        errors.KIND_EXCEPTION,
        "ModuleNotFoundError",
        f"this annotation needs msgspec, which this interpreter lacks: "
        f"{sys.executable} -m pip install msgspec",
    )


_DEPTH_MAX = 100


def _without_numpy(value: Any, depth: int) -> Any:
    """The same with numpy's scalars as Python's; the very same when there are none."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or depth > _DEPTH_MAX:
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    if type(value) is dict:
        made: Any = {key: _without_numpy(item, depth + 1) for key, item in value.items()}
        changed = any(made[key] is not item for key, item in value.items())
    elif type(value) in (list, tuple, set, frozenset):
        items = [(item, _without_numpy(item, depth + 1)) for item in value]
        made = type(value)(new for _, new in items)
        changed = any(new is not item for item, new in items)
    else:
        return value
    return made if changed else value


def published(name: str, plan: Plan) -> tuple[bytes, bytes, int, int, int]:
    """What the host is told of a function: name, signature, kind, batch."""
    size, wait = (0, 0) if plan.batch is None else plan.batch.as_core()
    return name.encode(), as_text(signature_of(plan), 4096), plan.kind, size, wait


def signature_of(plan: Plan) -> str:
    """ "(data: bytes, page: int = 0) -> str", for people to read."""
    defaults = getattr(plan.function, "__defaults__", None) or ()
    named = getattr(plan.function, "__kwdefaults__", None) or {}
    first = len(plan.positional) - len(defaults)
    parts = []
    for at, name in enumerate(plan.positional):
        default = f"{_short(defaults[at - first])}" if plan.plain and at >= first else ""
        parts.append(_parameter(plan, name, default or _other(plan, name)))
    if plan.rest:
        parts.append("*" + _parameter(plan, plan.rest, ""))
    elif plan.keyword_only:
        parts.append("*")
    parts += [
        _parameter(plan, name, _short(named[name]) if name in named else _other(plan, name))
        for name in plan.keyword_only
    ]
    if plan.keywords:
        parts.append("**" + _parameter(plan, plan.keywords, ""))
    result = f" -> {_hint(plan.annotations['return'])}" if "return" in plan.annotations else ""
    return f"({', '.join(parts)}){result}"


def _other(plan: Plan, name: str) -> str:
    return "..." if name in plan.optional else ""


def _parameter(plan: Plan, name: str, default: str) -> str:
    if name not in plan.annotations:
        return f"{name}={default}" if default else name
    text = f"{name}: {_hint(plan.annotations[name])}"
    return f"{text} = {default}" if default else text


def _hint(hint: object) -> str:
    if isinstance(hint, str):
        return hint[: _SIMPLE_FLAGS_MAX * 5]
    if isinstance(hint, type) and not hasattr(hint, "__args__"):
        return type_name_of(hint)
    if hint is None:
        return "None"
    try:
        return repr(hint)[: _SIMPLE_FLAGS_MAX * 5]
    except Exception:
        return "..."


def _short(value: object) -> str:
    if type(value) not in (type(None), bool, int, float, str, bytes):
        return "..."
    if isinstance(value, int) and value.bit_length() > 200:
        return "..."
    text = repr(value)
    return text if len(text) <= _SIMPLE_FLAGS_MAX else "..."
