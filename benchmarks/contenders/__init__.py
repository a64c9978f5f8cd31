"""Everything that can be measured, in the order of the tables."""

from __future__ import annotations

from benchmarks.contenders.base import Contender, PoolContender
from benchmarks.contenders.executor import Loky, ProcessPool
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.interpreter import Interpreter
from benchmarks.contenders.joblib_parallel import Joblib
from benchmarks.contenders.mpire_pool import Mpire
from benchmarks.contenders.multiprocessing_pool import MultiprocessingPool
from benchmarks.contenders.pebble_pool import Pebble
from benchmarks.contenders.pyproc_pool import Pyproc

_KINDS: tuple[type[Contender], ...] = (
    Floor,
    Interpreter,
    Pyproc,
    ProcessPool,
    MultiprocessingPool,
    Loky,
    Pebble,
    Joblib,
    Mpire,
)
CONTENDERS: dict[str, type[Contender]] = {kind.name: kind for kind in _KINDS}

__all__ = ["CONTENDERS", "Contender", "PoolContender"]
