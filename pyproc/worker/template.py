"""A template's life: the application imported and warm, forked once for each worker.

Numeric libraries make their threads while they are imported, and a process with threads cannot
be forked safely; so they are told to use one, and each worker gives them theirs back.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: What OpenBLAS, OpenMP runtimes, MKL and numexpr read when they are loaded.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Functions that set the number of threads, as the builds of OpenBLAS and MKL call them.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
    "omp_set_num_threads",
)
_LIBRARIES = ("openblas", "libmkl_rt", "libgomp", "libomp", "libiomp")

_asked: dict[str, str | None] = {}
_setters: list[Callable[[int], object]] = []


def before_import() -> None:
    """Numeric libraries that are loaded from now on start no threads."""
    for name in _THREADS:
        _asked[name] = os.environ.get(name)
        os.environ[name] = "1"


def after_import() -> None:
    """Everything that the workers will share is there."""
    if "numpy" in sys.modules or "scipy" in sys.modules or "torch" in sys.modules:
        _find_setters()
    gc.collect()
    gc.freeze()  # a collection in a worker would write into every object's header: copy it all


def after_fork() -> None:
    """In the new worker: nothing random is shared, and threads are allowed again."""
    for name, value in _asked.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    random = sys.modules.get("numpy.random")
    if random is not None and hasattr(random, "seed"):
        random.seed()
    threads = _thread_count()
    if threads > 1:
        for setter in _setters:
            setter(threads)


def _thread_count() -> int:
    for name in _THREADS:
        value = _asked.get(name)
        if value is not None and value.isdigit() and int(value) > 0:
            return int(value)
    return len(os.sched_getaffinity(0))


def _find_setters() -> None:
    """The setters of the libraries that are loaded by now, wherever they lie."""
    import ctypes

    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/" in line}
    except OSError:
        return
    for path in sorted(paths):
        if not any(name in os.path.basename(path) for name in _LIBRARIES):
            continue
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in _SETTERS:
            setter = getattr(library, name, None)
            if setter is not None:
                _setters.append(setter)
                break
