"""What a worker of the Go pool is told by its environment, checked before anything starts.

| variable | what it says |
| :-- | :-- |
| PYPROC_SOCKET_PATH | where to listen; the Go pool sets it |
| PYPROC_CODEC_TYPE | auto (the default), json, orjson, msgspec or msgpack |
| PYPROC_HMAC_SECRET_FILE | a file (mode 0600) with the secret that clients must know |
| PYPROC_HMAC_SECRET | the secret itself; taken out of the environment at once |
| PYPROC_CONCURRENCY | how many functions may run at once; the default is one a connection |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pyproc.gopool import codecs, handshake

_PATH_MAX = 107  # sun_path of unix(7), without its last byte
_THREADS_MAX = 4096


@dataclass(frozen=True)
class Settings:
    """Checked. `secret`: None when clients need none. `concurrency`: None when unbounded."""

    path: str
    codec: str = "auto"
    secret: bytes | None = None
    concurrency: int | None = None


def from_environment(environment: Mapping[str, str], path: str | None = None) -> Settings:
    """Raises ValueError naming the variable, or OSError for the secret's file."""
    path = path or environment.get("PYPROC_SOCKET_PATH", "")
    if not path:
        raise ValueError("PYPROC_SOCKET_PATH is not set: it says where the worker listens")
    if len(os.fsencode(path)) > _PATH_MAX:
        raise ValueError(f"PYPROC_SOCKET_PATH is longer than {_PATH_MAX} bytes: {path!r}")
    codec = environment.get("PYPROC_CODEC_TYPE") or "auto"
    if codec not in codecs.NAMES:
        raise ValueError(
            f"PYPROC_CODEC_TYPE={codec!r}: it must be one of {', '.join(codecs.NAMES)}"
        )
    return Settings(path, codec, _secret(environment), _concurrency(environment))


def _secret(environment: Mapping[str, str]) -> bytes | None:
    file = environment.get("PYPROC_HMAC_SECRET_FILE")
    text = environment.get("PYPROC_HMAC_SECRET")
    if file and text:
        raise ValueError("PYPROC_HMAC_SECRET and PYPROC_HMAC_SECRET_FILE are both set: use one")
    try:
        if file:
            return handshake.from_file(file)
        return handshake.from_text(text) if text is not None else None
    except ValueError as error:
        name = "PYPROC_HMAC_SECRET_FILE" if file else "PYPROC_HMAC_SECRET"
        raise ValueError(f"{name}: {error}") from None


def _concurrency(environment: Mapping[str, str]) -> int | None:
    text = environment.get("PYPROC_CONCURRENCY")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _THREADS_MAX:
        raise ValueError(
            f"PYPROC_CONCURRENCY={text!r}: it must be a number from 1 to {_THREADS_MAX}"
        )
    return int(text)
