"""Crash bundles: a file about each death, with all that is known of it, for `pyproc replay`.

A bundle is JSON, mode 0600, at most a few MiB; the oldest go when there are too many. The request
is in it as it travelled, in base64, unless `Bundles(requests=False)` says no: it may hold what
the caller gave. Any thread.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import platform
import re
import stat
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyproc import errors
from pyproc.identity import split_identity
from pyproc.resilience import is_failure

if TYPE_CHECKING:
    from pyproc.events import Events

VERSION = 1
_numbers = itertools.count(1)  # of the process: two pools never choose one name
#: Text of a worker in a bundle, and the request, at most so many bytes.
TEXT_MAX = 64 * 1024
_NAME = re.compile(r"\d{8}T\d{6}-\d{6}-.*\.json")


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """path: a directory, made with mode 0700. requests: whether what the caller gave is in the
    bundle, so that it can be run again. request_max: bytes of a request; larger ones are left
    out. keep: how many bundles stay."""

    path: str
    requests: bool = True
    request_max: int = 2**20
    keep: int = 100

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("bundles: a directory is needed")
        for name, least in (("request_max", 0), ("keep", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"Bundles({name}={value!r}): {least} or more is needed")


class Bundles:
    """The bundles of one pool."""

    def __init__(self, options: object, events: Events, target: str) -> None:
        if isinstance(options, str | os.PathLike):
            options = BundleOptions(path=os.fspath(options))
        if not isinstance(options, BundleOptions):
            raise TypeError(f"bundles={options!r}: a directory or a BundleOptions is needed")
        self._options, self._events, self._target = options, events, target
        self._lock = threading.Lock()
        self._folder = os.path.abspath(options.path)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        status = os.stat(self._folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise errors.Error(f"bundles={options.path!r}: no directory of our own")
        if status.st_mode & 0o077:
            raise errors.Error(
                f"bundles={options.path!r}: mode {stat.S_IMODE(status.st_mode):04o} lets others in;"
                " chmod 700 it"
            )

    def take(self, function: str, error: BaseException, payload: bytes | None) -> None:
        """Writes a bundle where the call ended with a death or a time limit."""
        if not is_failure(error) or getattr(error, "pid", None) is None:
            return
        try:
            name = self._write(function, error, payload)
        except OSError as problem:
            logging.getLogger("pyproc").warning("a crash bundle was not written: %s", problem)
            return
        self._events.add("bundle", name, getattr(error, "worker_id", 0) or 0,
                         getattr(error, "pid", 0) or 0)  # fmt: skip

    def _write(self, function: str, error: BaseException, payload: bytes | None) -> str:
        found = describe(function, error, self._target)
        options = self._options
        if payload and options.requests and len(payload) <= options.request_max:
            request, codec, keywords = split_identity(payload)
            found["request"] = {
                "payload": base64.b64encode(request).decode(),
                "codec": codec,
                "keywords": list(keywords),
            }
        else:
            too_large = options.requests and payload
            found["request"] = None
            found["request_missing"] = (
                f"it has more than {options.request_max} bytes" if too_large
                else "the options say no" if payload else "it is not known: an item of a chunk"
            )  # fmt: skip
        with self._lock:
            number = next(_numbers) % 10**6
            moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            safe = re.sub(r"[^A-Za-z0-9_.-]", "_", function)[:60]
            name = f"{moment}-{number:06d}-{os.getpid()}-{safe}.json"
            place = os.path.join(self._folder, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(place + ".new", flags, 0o600), "w", encoding="ascii") as file:
                json.dump(found, file, indent=1)
            os.rename(place + ".new", place)
            self._forget_old()
        return name

    def _forget_old(self) -> None:
        names = sorted(name for name in os.listdir(self._folder) if _NAME.fullmatch(name))
        for name in names[: max(0, len(names) - self._options.keep)]:
            os.unlink(os.path.join(self._folder, name))


def describe(function: str, error: BaseException, target: str) -> dict[str, Any]:
    """Everything that is known of a death, as JSON; text of the worker cut to its bound."""
    facts = {}
    for name in sorted({*errors._Facts.__annotations__, "stage", "limit", "used", "peak", "how",
                        "syscall", "number", "syscall_args"}):  # fmt: skip
        value = getattr(error, name, None)
        if value is not None:
            facts[name] = _plain(value)
    from pyproc import __version__

    return {
        "version": VERSION,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "function": function[:255],
        "target": target,
        "error": type(error).__name__,
        "message": _plain(str(error)),
        "facts": facts,
        "host": {
            "pid": os.getpid(),
            "pyproc": __version__,
            "python": sys.version.split()[0],
            "executable": sys.executable,
            "kernel": platform.release(),
            "machine": platform.machine(),
        },
    }


def _plain(value: object) -> Any:
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(name)[:64]: _plain(of) for name, of in list(value.items())[:64]}
    if isinstance(value, list | tuple):
        return [_plain(of) for of in value[:64]]
    return repr(value)[:400]


def load(path: str) -> dict[str, Any]:
    """A bundle. `Error` says what is wrong with the file."""
    try:
        with open(path, "rb") as file:
            data = file.read(64 * 2**20)
        found = json.loads(data)
        version = found["version"]
    except OSError as error:
        raise errors.Error(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise errors.Error(f"{path}: this is no crash bundle") from None
    if version != VERSION:
        raise errors.Error(f"{path}: bundle version {version}, this program knows {VERSION}")
    return dict(found)


def request_of(bundle: dict[str, Any]) -> tuple[bytes, int, tuple[str, ...]]:
    """What was sent: payload, codec and names of arguments. `Error`: it is not in the bundle."""
    request = bundle.get("request")
    if request is None:
        raise errors.Error(f"the bundle has no request: {bundle.get('request_missing', 'unknown')}")
    try:
        payload = base64.b64decode(request["payload"], validate=True)
        keywords = tuple(str(name) for name in request["keywords"])
        return payload, int(request["codec"]), keywords
    except (ValueError, TypeError, KeyError):
        raise errors.Error("the bundle's request is damaged") from None
