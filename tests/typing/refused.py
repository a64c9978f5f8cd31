"""What mypy --strict must refuse, each line with the code that it must be refused for."""

from __future__ import annotations

from typing import Protocol

import pyproc
from pyproc import App, Limits, Pool, Timeouts

app = App()
pool = Pool(app)

Pool()  # E: call-arg
Pool(5)  # E: arg-type
Pool(app, workers="two")  # E: arg-type
Pool(app, output="somewhere")  # E: arg-type
Pool(app, limits={"open_files": 5})  # E: arg-type
Pool(app, sandboxx="strict")  # E: call-arg
Limits(64)  # E: call-arg
Timeouts(task="5s")  # E: arg-type
pool.call(5)  # E: arg-type
pool.submit()  # E: call-arg
pool.map("f", 5)  # E: arg-type
pool.map("f", [1], chunksize="some")  # E: arg-type
pool.options(timeout="soon")  # E: arg-type
pool.resize("many")  # E: arg-type
pyproc.nothing()  # E: attr-defined
pool.workers()[0].pid = 5  # E: misc
number: str = pool.stats()["workers"]  # E: assignment


@app.expose
def double(n: int) -> int:
    return 2 * n


double("two")  # E: arg-type


@pyproc.isolated(timeout=5)
def isolated(n: int) -> int:
    return n


pyproc.isolated(timeout="soon")  # E: call-overload
isolated("two")  # E: arg-type
isolated.submit()  # E: call-arg
isolated.local(1, 2)  # E: call-arg
text: str = isolated(1)  # E: assignment


class Numbers(Protocol):
    def double(self, n: int) -> int: ...


numbers = pool.proxy(Numbers)
numbers.triple(1)  # E: attr-defined
numbers.double("1")  # E: arg-type
doubled: str = numbers.double(1)  # E: assignment
pool.proxy("Numbers")  # E: arg-type
