from collections.abc import Callable, Mapping
from typing import Any, TextIO, final

ACCEPT_NONE: int
ACCEPT_BOOL: int
ACCEPT_INT: int
ACCEPT_FLOAT: int
ACCEPT_STR: int
ACCEPT_BYTES: int
ACCEPT_LIST: int
ACCEPT_DICT: int
ACCEPT_TUPLE: int
ACCEPT_WIDEN: int
ACCEPT_ANY: int
PROTOCOL_VERSION: int
SCAN_RICH: int
SCAN_FAILURE: int
DEPTH: int

def pack_plain(value: object, /) -> bytes | None: ...
def pack_rich(
    value: object, hook: Callable[[Any], tuple[int | None, Any]], /
) -> tuple[bytes, bool]: ...
def unpack(payload: bytes, hook: Callable[[int, bytes], object] | None = None, /) -> object: ...
def scan(payload: bytes, count: int, flags: int, /) -> None: ...
def print_traceback(traceback: object, file: TextIO, /) -> None: ...

@final
class Worker:
    def __new__(cls) -> Worker: ...
    def hello(self) -> tuple[Any, ...]: ...
    def ready(
        self,
        functions: list[tuple[bytes, bytes]],
        python_version: bytes,
        prefix: bytes,
        base_prefix: bytes,
        /,
    ) -> None: ...
    def fail(self, described: tuple[int, bytes, list[Any]], /) -> None: ...
    def serve(self, functions: Mapping[str, tuple[Any, ...]], handlers: object, /) -> None: ...
    def template(self) -> bool: ...
    def log(
        self,
        level: int,
        created: float,
        logger: bytes,
        message: bytes,
        exception: bytes,
        extra: bytes,
        /,
    ) -> None: ...
    def crash_fd(self) -> int: ...
    def cancelled(self) -> bool: ...
    def deadline(self) -> int: ...
