"""Tries an installed pyproc from outside the checkout: `python try_install.py [--repaired]`.

Run by the interpreter of the environment to try, from another folder. Opens a pool on a small
application of its own, calls it from both sides of the pool, and checks what only an installed
package can get wrong: the keeper's mode, C hosts' files, the library's symbols, and with
--repaired that no process maps this system's libuv or protobuf-c.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

APP = """
from pyproc import App

app = App()

@app.expose
def total(numbers: list[int]) -> int:
    return sum(numbers)

@app.expose
def maps() -> str:
    with open("/proc/self/maps") as file:
        return file.read()

@app.expose
def crash() -> None:
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)
"""

GRAFTED = ("libuv", "libprotobuf-c")


def foreign_libraries(maps: str) -> set[str]:
    """Mapped files of libuv and protobuf-c that are not the package's own."""
    site = sysconfig.get_path("platlib")
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/" in line}
    return {
        file for file in files if Path(file).name.startswith(GRAFTED) and not file.startswith(site)
    }


def check_files(package: Path) -> None:
    """What the package holds besides Python."""
    site = Path(sysconfig.get_path("platlib")).resolve()
    assert package.resolve().is_relative_to(site), f"{package} is not the installed package"
    keeper = package / "pyproc-keeper"
    assert keeper.stat().st_mode & 0o111 == 0o111, f"mode {keeper.stat().st_mode:o}"
    assert (package / "include" / "pyproc.h").is_file()
    assert (package / "py.typed").is_file()
    assert len(list(package.glob("_core.*.so"))) == 1
    assert [path.name for path in package.glob("_worker.*")].count("_worker.abi3.so") == 1
    linked = subprocess.run(["ldd", keeper], capture_output=True, text=True, check=True).stdout
    libraries = {line.split()[0] for line in linked.splitlines()}
    assert all(name.startswith(("linux-vdso", "libc.so", "/lib")) for name in libraries), libraries


def check_calls(*, repaired: bool) -> None:
    """A pool answers, outlives a crash, and neither end maps what it must not."""
    import pyproc

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tried_app.py").write_text(APP)
        os.chdir(folder)
        sys.path.insert(0, folder)
        with pyproc.Pool("tried_app:app", workers=2) as pool:
            assert pool.call("total", [1, 2, 3]) == 6
            assert pool.submit("total", [4, 5]).result(timeout=60) == 9
            try:
                pool.call("crash")
            except pyproc.WorkerCrashed as error:
                print(f"a crash costs its call: {error}")
            else:
                raise AssertionError("the crash was not reported")
            assert list(pool.map("total", [[n] for n in range(100)])) == list(range(100))
            workers_maps = pool.call("maps")
    if repaired:
        found = foreign_libraries(workers_maps)
        found |= foreign_libraries(Path("/proc/self/maps").read_text())
        assert not found, f"the system's own libraries are in use: {found}"


def main() -> None:
    """Tries everything; an assertion's text says what is wrong."""
    import importlib.util

    spec = importlib.util.find_spec("pyproc")
    assert spec is not None
    assert spec.origin is not None, "pyproc is not installed"
    package = Path(spec.origin).parent
    check_files(package)
    check_calls(repaired="--repaired" in sys.argv)
    print(f"tried {package} with {sys.executable}: all is well")


if __name__ == "__main__":
    main()
