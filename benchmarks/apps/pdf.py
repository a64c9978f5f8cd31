"""An app as in the demo: it imports pypdf, and with it a few hundred modules."""

from __future__ import annotations

import pypdf

from pyproc import App

app = App()


@app.expose
def ready() -> bool:
    return bool(pypdf.__version__)
