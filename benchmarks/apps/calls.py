"""The functions of `work`, exposed to pyproc."""

from __future__ import annotations

from benchmarks import work
from pyproc import App

app = App()
for function in (
    work.echo,
    work.nothing,
    work.same,
    work.burn_short,
    work.burn_long,
    work.spin,
    work.sleep,
):
    app.expose(function)
