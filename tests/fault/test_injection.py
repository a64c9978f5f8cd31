"""The n-th malloc, socketpair, fork and so on fails, for every n: an error, never a crash or hang.

A host program with the shim preloaded (`shim/faults.c`) makes the same journey again and again,
each time with the next call failing, until a journey meets no fault any more.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from hosts import Host

pytestmark = pytest.mark.no_sanitizer("the shim takes the allocator's place")

APP = Path(__file__).parent.parent / "unit" / "apps" / "light_app.py"
BREAKING = Path(__file__).parent / "apps" / "breaking.py"
PACKAGE = Path(__file__).resolve().parents[2] / "pyproc"

#: kind and the errors that the kernel may answer
HOST_KINDS = [
    ("memory", errno.ENOMEM),
    ("socketpair", errno.EMFILE),
    ("socketpair", errno.ENFILE),
    ("memfd_create", errno.EMFILE),
    ("memfd_create", errno.ENOMEM),
    ("ftruncate", errno.ENOSPC),
    ("pipe2", errno.EMFILE),
    ("eventfd", errno.EMFILE),
    ("epoll_create1", errno.EMFILE),
    ("fcntl", errno.EMFILE),
    ("mmap", errno.ENOMEM),
    ("clone", errno.EAGAIN),
    ("clone", errno.ENOMEM),
    ("pthread_create", errno.EAGAIN),
    ("pidfd_open", errno.EMFILE),
    ("send", errno.ENOBUFS),
    ("send", errno.EAGAIN),
    ("sendmsg", errno.ENOBUFS),
    ("sendmsg", errno.EAGAIN),
]
KEEPER_KINDS = [
    ("memory", errno.ENOMEM),
    ("fork", errno.EAGAIN),
    ("fork", errno.ENOMEM),
    ("pipe2", errno.EMFILE),
    ("memfd_create", errno.EMFILE),
    ("mmap", errno.ENOMEM),
    ("fcntl", errno.EMFILE),
    ("pidfd_open", errno.EMFILE),
    ("sendmsg", errno.EAGAIN),
    ("sendmsg", errno.ENOBUFS),
]

FAULTS = """
    import ctypes, traceback
    faults = ctypes.CDLL(os.environ["LD_PRELOAD"])
    faults.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    faults.fault_hits.restype = ctypes.c_long
    faults.fault_clock.argtypes = [ctypes.c_long]
    CLEAR = (MemoryError, OSError, pyproc.Error)
    def try_all(kind, error, go_on, journey, after):
        # The journey with each of its calls failing in turn; `after` must work each time.
        for n in range(1, 2000):
            begin = time.monotonic()
            faults.fault_arm(kind.encode(), n, error, go_on)
            try:
                journey()
                end = "through"
            except CLEAR as raised:
                end = f"{type(raised).__name__}: {raised}"
            except BaseException:
                faults.fault_disarm()
                traceback.print_exc()
                say("ODD", n)
                os._exit(1)
            hits = faults.fault_hits()
            faults.fault_disarm()
            took = time.monotonic() - begin
            print(n, f"{took:.2f} s", end, file=sys.stderr, flush=True)
            if took > 20:
                say("SLOW", n, took)
                os._exit(1)
            after()
            if not hits:
                assert end == "through", end
                say("done", n)
                return
        say("ENDLESS")
        os._exit(1)
"""

OPENING = (
    FAULTS
    + """
    kind, error, go_on, app = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    def journey():
        limits = Timeouts(start=15)
        with Pool(app, workers=1, output="drop", timeouts=limits, sandbox="none") as pool:
            assert pool.options(timeout=15).call("add", 1, 2) == 3
            assert pool.submit("add", 1, 2).result(15) == 3
            assert list(pool.map("add", [1, 2, 3], timeout=15)) == [1, 2, 3]
    journey()
    try_all(kind, error, go_on, journey, journey)
"""
)

USING = (
    FAULTS
    + """
    import asyncio
    kind, error, app = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with Pool(app, workers=2, output="drop", timeouts=Timeouts(start=15), sandbox="none") as pool:
        calls = pool.options(timeout=15)
        async def gathered():
            return await asyncio.gather(*(calls.acall("add", n, 1) for n in range(3)))
        def check():
            assert calls.call("add", 1, 2) == 3
        def crash():
            try:
                calls.call("die", "segfault")
            except pyproc.WorkerCrashed:
                pass
            check()
        def large():
            assert calls.call("size", bytes(3_000_000)) == 3_000_000
            assert len(calls.call("blob", 3_000_000)) == 3_000_000
        def stop():
            future = pool.submit("nap", 60.0)
            future.kill()
            try:
                future.result(15)
            except pyproc.TaskKilled:
                pass
        def late():
            try:
                pool.options(timeout=0.02).call("nap", 60.0)
            except pyproc.TaskTimeout:
                pass
        def ask():
            pool.stats(), pool.workers(), pool.functions(), pool.health()
        for journey in (
            check,
            lambda: calls.submit("add", 1, 2).result(15),
            lambda: list(pool.map("add", range(50), timeout=15)),
            lambda: asyncio.run(gathered()),
            large, crash, stop, late, ask,
            lambda: (pool.resize(1), pool.resize(2)),
            lambda: pool.reload(15),
        ):
            journey()
            say("journey")
            try_all(kind, error, 0, journey, check)
"""
)

KEEPER = """
    import errno, pathlib
    from unittest import mock
    package, app, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
    def journey():
        limits = Timeouts(start=15)
        with Pool(app, workers=1, output="drop", timeouts=limits, sandbox="none") as pool:
            assert pool.options(timeout=15).call("add", 1, 2) == 3
            return True
    real = os.path.dirname
    for n in range(1, limit):
        pathlib.Path(package, "number").write_text(str(n))
        begin = time.monotonic()
        with mock.patch("pyproc.pool.os.path.dirname", lambda _: package):
            try:
                journey()
                end = "through"
            except (OSError, MemoryError, pyproc.Error) as raised:
                end = f"{type(raised).__name__}: {raised}"
        took = time.monotonic() - begin
        print(n, f"{took:.2f} s", end, file=sys.stderr, flush=True)
        if took > 20:
            say("SLOW", n, took)
            os._exit(1)
    journey()
    say("done", n)
"""


def run(host: Host, limit: float) -> None:
    """Waits for a program that has to end well, and to leave nothing."""
    with host:
        code = host.wait(limit)
        assert code == 0, (code, host.output[-500:], host.errors()[-5000:])
        assert "\ndone " in "\n" + host.output, (host.output[-500:], host.errors()[-3000:])
        assert host.left() == set()


@pytest.mark.parametrize(("kind", "error"), HOST_KINDS)
def test_opening_a_pool_survives_each_fault(
    tmp_path: Path, fault_shim: Path, kind: str, error: int
) -> None:
    run(Host(tmp_path, OPENING, kind, error, 0, APP, LD_PRELOAD=str(fault_shim)), 150)


@pytest.mark.parametrize(
    ("kind", "error"), [("memory", errno.ENOMEM), ("socketpair", errno.EMFILE)]
)
def test_opening_a_pool_survives_a_fault_that_stays(
    tmp_path: Path, fault_shim: Path, kind: str, error: int
) -> None:
    run(Host(tmp_path, OPENING, kind, error, 1, APP, LD_PRELOAD=str(fault_shim)), 150)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("memory", errno.ENOMEM),
        ("send", errno.ENOBUFS),
        ("fcntl", errno.EMFILE),
        ("memfd_create", errno.EMFILE),
        ("mmap", errno.ENOMEM),
        ("sendmsg", errno.EAGAIN),
    ],
)
def test_an_open_pool_survives_each_fault(
    tmp_path: Path, fault_shim: Path, kind: str, error: int
) -> None:
    run(Host(tmp_path, USING, kind, error, BREAKING, LD_PRELOAD=str(fault_shim)), 170)


@pytest.mark.parametrize(("kind", "error"), KEEPER_KINDS)
def test_a_fault_in_the_keeper_is_an_error_or_costs_nothing(
    tmp_path: Path, fault_shim: Path, kind: str, error: int
) -> None:
    package = tmp_path / "pyproc"
    package.mkdir()
    for entry in PACKAGE.iterdir():
        if entry.name not in ("pyproc-keeper", "__pycache__"):
            (package / entry.name).symlink_to(entry)
    script = package / "pyproc-keeper"
    script.write_text(
        f"#!{shutil.which('sh')}\nread number < {package}/number\n"
        f'export LD_PRELOAD={fault_shim} FAULTS="{kind} $number {error}"\n'
        f"exec {PACKAGE}/pyproc-keeper\n"
    )
    script.chmod(0o755)
    run(Host(tmp_path, KEEPER, package, APP, 25), 170)


CLOCK = (
    FAULTS
    + """
    over = threading.Event()
    def jump():
        shift = 0
        while not over.wait(0.01):
            shift = {0: 86400, 86400: -86400, -86400: 7, 7: 0}[shift]
            faults.fault_clock(shift)
    jumping = threading.Thread(target=jump)
    jumping.start()
    with Pool(sys.argv[1], workers=2, recycle=pyproc.Recycle(max_age=0.5), sandbox="none") as pool:
        begin = time.monotonic()
        while time.monotonic() < begin + 3:
            assert pool.options(timeout=30, queue_timeout=30).call("add", 1, 2) == 3
            assert pool.options(timeout=30).submit("nap", 0.01).result(30) == 0.01
            late = time.monotonic()
            try:
                pool.options(timeout=0.2).call("nap", 60.0)
            except pyproc.TaskTimeout:
                pass
            assert 0.19 < time.monotonic() - late < 5, time.monotonic() - late
    over.set()
    jumping.join()
    say("done", 0)
"""
)


def test_a_wall_clock_that_jumps_moves_no_time_limit(tmp_path: Path, fault_shim: Path) -> None:
    run(Host(tmp_path, CLOCK, BREAKING, LD_PRELOAD=str(fault_shim)), 60)
