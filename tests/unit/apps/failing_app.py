"""Everything that a function may raise."""

# ruff: noqa: PLE0307

import threading

from pyproc.worker.registry import App

app = App()


class Custom(Exception):
    def __init__(self, *, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class BadText(Exception):
    def __str__(self):
        raise SystemExit("no text")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self):
        return 7


@app.expose
def echo(value):
    return value


@app.expose
def fail(how):
    raise MAKERS[how]()  # noqa: RSE102


def make_file_error():
    with open("/nonexistent/file") as file:
        return file


def make_chain():
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        raise TypeError("third") from error


def make_context():
    try:
        raise KeyError("inner")
    except KeyError:
        raise ValueError("outer")  # noqa: B904


def make_cycle():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    return a


def make_long_chain():
    first = last = ValueError("0")
    for number in range(1, 5000):
        last.__cause__ = ValueError(str(number))
        last = last.__cause__
    return first


def make_group():
    return ExceptionGroup(
        "several", [ValueError("one"), ExceptionGroup("inner", [Custom(code=1, text="two")])]
    )


def make_noted():
    error = ValueError("noted")
    error.__notes__ = ["plain", 7, BadText()]
    return error


def make_odd_notes():
    error = ValueError("noted")
    error.__notes__ = 12
    return error


def make_recursion():
    return make_recursion()


def make_wide():
    error = ValueError("x" * 50_000_000)
    error.__notes__ = ["n" * 1_000_000] * 1000
    error.__cause__ = ValueError("y" * 50_000_000)
    return error


MAKERS = {
    "value": lambda: ValueError("bad value", 3),
    "key": lambda: KeyError("missing"),
    "file": make_file_error,
    "custom": lambda: Custom(code=3, text="odd"),
    "bad_text": BadText,
    "no_text": NoText,
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator_exit": GeneratorExit,
    "base": lambda: BaseException("bare"),
    "lock": lambda: ValueError(threading.Lock()),
    "chain": make_chain,
    "context": make_context,
    "cycle": make_cycle,
    "long_chain": make_long_chain,
    "group": make_group,
    "noted": make_noted,
    "odd_notes": make_odd_notes,
    "recursion": make_recursion,
    "wide": make_wide,
    "nul": lambda: ValueError("a\0b\ud800"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    "stop": StopIteration,
    "memory": MemoryError,
}
