"""A kernel and a C library that say no: each call of the core's fails once, in a host of its own.

Every program runs one scenario again and again, with the first, the second, the third ... call of a
function failing, until none is left to fail. Whatever fails, the scenario ends with its right
answers or with a clear error, nothing is left open, and the next pool works. Left out is what
libuv answers with abort(): epoll_ctl(2) and the growth of its own table.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hosts import Host

HERE = Path(__file__).parent
PROGRAM = """
sys.path.insert(0, {apps!r})
import ctypes, faulthandler, gc, logging
shim = ctypes.CDLL({shim!r})
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore", ResourceWarning)
sys.unraisablehook = lambda *_: None
threading.excepthook = lambda *_: None

def scenario():
    with Pool("steady:app", workers=2, start_method={start!r}, output="capture") as pool:
        assert pool.call("double", 2) == 4
        futures = [pool.submit("double", n) for n in range(6)]
        assert [f.result(60) for f in futures] == [0, 2, 4, 6, 8, 10]
        assert list(pool.map("double", range(40), chunksize=5)) == [2 * n for n in range(40)]
        data = b"x" * 300_000
        assert pool.call("echo", data) == data
        pool.call("speak", "words")
        try:
            pool.call("crash")
        except pyproc.WorkerDied:
            pass
        assert pool.call("double", 3) == 6
        pool.stats(), pool.workers(), pool.captured()

def opened():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()

def settled(before):
    limit = time.monotonic() + 20
    while opened() > before and time.monotonic() < limit:
        time.sleep(0.01)
    return opened()

clear = (MemoryError, OSError, pyproc.Error, RuntimeError)
scenario()
scenario()
before = opened()
name = {name!r}.encode()
n, failed = 1, 0
while True:
    faulthandler.dump_traceback_later(100, exit=True)
    shim.shim_arm(name, ctypes.c_long(n))
    try:
        scenario()
    except clear as error:
        failed += 1
        if isinstance(error, RuntimeError) and "thread" not in str(error):
            say("unclear", n, repr(error))
    except BaseException as error:
        say("unclear", n, repr(error))
    fired = shim.shim_fired()
    shim.shim_arm(None, ctypes.c_long(0))
    if settled(before) > before:
        say("left", n, before, opened())
        before = opened()
    if not fired:
        break
    n += 1
scenario()
faulthandler.cancel_dump_traceback_later()
say("done", n, "failed", failed)
"""


@pytest.fixture(name="shim", scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is needed")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = HERE / "shim" / "shim.c"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source), "-ldl"],
        check=True,
    )
    return library


FUNCTIONS = [
    "malloc", "calloc", "realloc", "socketpair", "memfd_create", "eventfd", "epoll_create1",
    "pipe2", "ftruncate", "mmap", "pthread_create", "fcntl", "clone", "sendmsg",
]  # fmt: skip


@pytest.mark.no_sanitizer("its own allocator would have to fail")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("start", ["exec", "template"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_refusal_ends_in_a_clear_error_and_leaves_nothing(
    shim: Path, tmp_path: Path, name: str, start: str
) -> None:
    program = PROGRAM.format(apps=str(HERE / "apps"), shim=str(shim), start=start, name=name)
    with Host(tmp_path, program, LD_PRELOAD=str(shim)) as host:
        assert host.wait(590) == 0, host.errors()
        lines = host.output.splitlines()
    assert [line for line in lines if not line.startswith("done")] == []
