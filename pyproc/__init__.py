"""pyproc: Python functions in isolated worker processes; a crash, hang or leak costs one call.

Names are looked up when they are first used: importing this package costs a worker nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyproc.actors import Actor as Actor
    from pyproc.audit import AuditLog as AuditLog
    from pyproc.bars import Progress as Progress
    from pyproc.beneath import open_beneath as open_beneath
    from pyproc.beneath import safe_path as safe_path
    from pyproc.buffers import empty as empty
    from pyproc.buffers import share as share
    from pyproc.client import Client as Client
    from pyproc.client import connect as connect
    from pyproc.config import Limits as Limits
    from pyproc.config import Recycle as Recycle
    from pyproc.config import Timeouts as Timeouts
    from pyproc.decorator import isolated as isolated
    from pyproc.errors import AccessDenied as AccessDenied
    from pyproc.errors import ActorLost as ActorLost
    from pyproc.errors import AuditError as AuditError
    from pyproc.errors import AuthenticationError as AuthenticationError
    from pyproc.errors import CircuitOpen as CircuitOpen
    from pyproc.errors import CodecError as CodecError
    from pyproc.errors import ConfigError as ConfigError
    from pyproc.errors import CPUTimeExceeded as CPUTimeExceeded
    from pyproc.errors import Disconnected as Disconnected
    from pyproc.errors import Error as Error
    from pyproc.errors import FunctionIsolated as FunctionIsolated
    from pyproc.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from pyproc.errors import OutputLimitExceeded as OutputLimitExceeded
    from pyproc.errors import PoolClosed as PoolClosed
    from pyproc.errors import ProcessLimitExceeded as ProcessLimitExceeded
    from pyproc.errors import ProtocolError as ProtocolError
    from pyproc.errors import ProxyMismatch as ProxyMismatch
    from pyproc.errors import QueueFull as QueueFull
    from pyproc.errors import RateLimited as RateLimited
    from pyproc.errors import RemoteError as RemoteError
    from pyproc.errors import RequestRefused as RequestRefused
    from pyproc.errors import ResultTooLarge as ResultTooLarge
    from pyproc.errors import SandboxUnavailable as SandboxUnavailable
    from pyproc.errors import SandboxViolation as SandboxViolation
    from pyproc.errors import TaskKilled as TaskKilled
    from pyproc.errors import TaskQuarantined as TaskQuarantined
    from pyproc.errors import TaskTimeout as TaskTimeout
    from pyproc.errors import ThreadLimitExceeded as ThreadLimitExceeded
    from pyproc.errors import UnknownFunction as UnknownFunction
    from pyproc.errors import UnsafePath as UnsafePath
    from pyproc.errors import ValidationError as ValidationError
    from pyproc.errors import WorkerCrashed as WorkerCrashed
    from pyproc.errors import WorkerDied as WorkerDied
    from pyproc.errors import WorkerExited as WorkerExited
    from pyproc.errors import WorkerKilled as WorkerKilled
    from pyproc.errors import WorkerStartError as WorkerStartError
    from pyproc.events import Event as Event
    from pyproc.events import Health as Health
    from pyproc.executor import Executor as Executor
    from pyproc.files import File as File
    from pyproc.future import Future as Future
    from pyproc.lifecycle import WorkerInfo as WorkerInfo
    from pyproc.output import Printed as Printed
    from pyproc.pool import Pool as Pool
    from pyproc.rate import Rate as Rate
    from pyproc.resilience import Breaker as Breaker
    from pyproc.resilience import Retry as Retry
    from pyproc.sandbox import Sandbox as Sandbox
    from pyproc.watching import Durations as Durations
    from pyproc.watching import Latency as Latency
    from pyproc.worker.context import Current as Current
    from pyproc.worker.context import current as current
    from pyproc.worker.context import progress as progress
    from pyproc.worker.registry import App as App
    from pyproc.worker.registry import Batch as Batch
    from pyproc.worker.registry import expose as expose
    from pyproc.worker.registry import run_worker as run_worker

__version__ = "0.1.0"

_HOMES = {
    "Actor": "actors",
    "AuditLog": "audit",
    "open_beneath": "beneath",
    "safe_path": "beneath",
    "Client": "client",
    "connect": "client",
    "empty": "buffers",
    "share": "buffers",
    "isolated": "decorator",
    "Limits": "config",
    "Recycle": "config",
    "Timeouts": "config",
    "Rate": "rate",
    "Breaker": "resilience",
    "Retry": "resilience",
    "Event": "events",
    "Health": "events",
    "Executor": "executor",
    "File": "files",
    "Future": "future",
    "Printed": "output",
    "Pool": "pool",
    "Sandbox": "sandbox",
    "WorkerInfo": "lifecycle",
    "Durations": "watching",
    "Latency": "watching",
    "App": "worker.registry",
    "Batch": "worker.registry",
    "Current": "worker.context",
    "current": "worker.context",
    "progress": "worker.context",
    "Progress": "bars",
    "expose": "worker.registry",
    "run_worker": "worker.registry",
    "AccessDenied": "errors",
    "ActorLost": "errors",
    "AuthenticationError": "errors",
    "RateLimited": "errors",
    "RequestRefused": "errors",
    "Disconnected": "errors",
    "FunctionIsolated": "errors",
    "ConfigError": "errors",
    "AuditError": "errors",
    "CPUTimeExceeded": "errors",
    "CircuitOpen": "errors",
    "CodecError": "errors",
    "Error": "errors",
    "MemoryLimitExceeded": "errors",
    "OutputLimitExceeded": "errors",
    "PoolClosed": "errors",
    "ProcessLimitExceeded": "errors",
    "ProtocolError": "errors",
    "ProxyMismatch": "errors",
    "QueueFull": "errors",
    "RemoteError": "errors",
    "ResultTooLarge": "errors",
    "SandboxUnavailable": "errors",
    "SandboxViolation": "errors",
    "TaskKilled": "errors",
    "TaskQuarantined": "errors",
    "TaskTimeout": "errors",
    "ThreadLimitExceeded": "errors",
    "UnknownFunction": "errors",
    "UnsafePath": "errors",
    "ValidationError": "errors",
    "WorkerCrashed": "errors",
    "WorkerDied": "errors",
    "WorkerExited": "errors",
    "WorkerKilled": "errors",
    "WorkerStartError": "errors",
}

__all__ = [*_HOMES, "get_include"]  # noqa: PLE0604


def get_include() -> str:
    """The directory of pyproc.h, for C hosts."""
    return f"{__path__[0]}/include"


if not TYPE_CHECKING:  # a checker then refuses names that are not there

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'pyproc' has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(f"pyproc.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
