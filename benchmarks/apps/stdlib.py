"""An app with a middling load of imports, all from the standard library."""

from __future__ import annotations

import decimal
import email.message
import json
import sqlite3
import urllib.request

from pyproc import App

app = App()
LOADED = (decimal, email.message, json, sqlite3, urllib.request)


@app.expose
def ready() -> bool:
    return len(LOADED) > 0
