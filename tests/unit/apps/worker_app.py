"""Functions of every temper, for the tests of one real worker."""

import asyncio
import atexit
import ctypes
import dataclasses
import enum
import os
import signal
import sys
import threading
import time
from typing import Literal, NamedTuple, Optional

from pyproc.worker.registry import App

app = App()
started = []


@app.on_start
def note_start():
    started.append(os.getpid())


@app.expose
def echo(value=None, *rest, **named):
    if rest or named:
        return [value, rest, named]
    return value


@app.expose
def start_count():
    return len(started)


# ---- annotations ----


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Row:
    name: str
    size: int = 0


class Point(NamedTuple):
    x: int
    y: int


seen = []


@app.expose
def typed(data: bytes, page: int = 0, *, scale: float = 1.0) -> str:
    seen.append("typed")
    return f"{data!r} {page!r} {scale!r}"


@app.expose
def optional(a: int | None, b: "str | None" = None, c: Optional[float] = None):
    return [a, b, c]


@app.expose
def rows(rows: list[Row], colour: Colour = Colour.RED, mode: Literal["a", "b"] = "a"):
    seen.append("rows")
    assert all(type(row) is Row for row in rows)
    return [row.size for row in rows] + [colour.name, mode]


@app.expose
def several(*numbers: int, **names: str):
    return [list(numbers), names]


@app.expose
def make_rows(size: object) -> list[Row]:
    return [{"name": "a", "size": 1}, {"name": "b", "size": size}]


@app.expose
def point() -> Point:
    return (1, 2)


@app.expose
def wrong_result() -> int:
    return "text"


@app.expose
def unresolved(value: "NotHere"):  # noqa: F821
    return value


@app.expose
def count_seen():
    return len(seen)


@app.expose
def mean() -> float:
    import numpy

    return numpy.float64(1.5)


@app.expose
def means() -> dict[str, list[float]]:
    import numpy

    return {"a": [numpy.float64(1.5), 2]}


# ---- results ----


@app.expose
def big(size: int):
    return b"x" * size


@app.expose
def unencodable():
    return {"rows": [1, 2, threading.Lock()]}


@app.expose
def cyclic():
    loop = []
    loop.append({"again": loop})
    return loop


@app.expose
def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@app.expose
def generator():
    yield 1


@app.expose
async def asynchronous(value: int) -> int:
    await asyncio.sleep(0)
    return value + 1


@app.expose
async def asynchronous_failure():
    await asyncio.sleep(0)
    raise KeyError("late")


loops = set()
leftovers = []


@app.expose
async def leave_task_behind():
    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            leftovers.append("cancelled")

    loops.add(id(asyncio.get_running_loop()))
    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    assert not task.done()
    return [len(loops), len(leftovers)]


# ---- what must not hurt the protocol ----


@app.expose
def say(text: str, times: int = 1):
    for _ in range(times):
        print(text, end="")


@app.expose
def say_to_all(fds: list):
    for fd in fds:
        os.write(fd, b"\x00\x00\x00\x05junk!")


@app.expose
def close_standard():
    os.closerange(0, 3)
    try:
        print("to nobody")
    except OSError:
        pass


@app.expose
def replace_stdout():
    sys.stdout = None
    sys.stderr = object()


@app.expose
def close_small():
    os.closerange(0, 64)


@app.expose
def highest_free():
    return os.open("/dev/null", os.O_RDONLY)


@app.expose
def fork_and_return():
    pid = os.fork()
    if pid == 0:
        return "from the copy"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.expose
def fork_and_raise():
    pid = os.fork()
    if pid == 0:
        raise SystemExit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.expose
def crash(item=0):
    if item >= 0:
        ctypes.string_at(0)


@app.expose
def exit_at(item):
    if item == 3:
        os._exit(9)
    return item * 10


@app.expose
def crash_at_large(item):
    if item == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return b"%d" % item * 50_000


@app.expose
def fork_at(item):
    if item == 2:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
    return item


@app.expose
def fail_odd(item):
    if item % 2:
        raise ValueError(item)
    return (item,)


@app.expose
def sized(item: int):
    return b"x" * item


@app.expose
def interrupt_self():
    os.kill(os.getpid(), signal.SIGINT)
    return "alive"


@app.expose
def main_names():
    return sorted(vars(sys.modules["__main__"])), sys.argv, sys.path[0]


@app.expose
def leave_thread(seconds: float):
    threading.Thread(target=time.sleep, args=(seconds,)).start()


@app.expose
def at_exit(text: str):
    atexit.register(print, text)


@app.expose
def exit_on_term():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))


@app.expose
def log(text: str):
    import logging

    logging.getLogger("app.part").warning("said %s", text, extra={"user": (1, 2)})
    try:
        raise KeyError("logged")
    except KeyError:
        logging.getLogger("app").exception("failed")
    logging.getLogger("app").info("below the level")


@app.expose
def log_much(times: int):
    import logging

    for _ in range(times):
        logging.getLogger("app").error("x" * 1000)


@app.expose
def heavy_modules():
    names = ("typing", "inspect", "msgspec", "dataclasses", "re", "enum", "logging", "traceback")
    return [name for name in names if name in sys.modules]
