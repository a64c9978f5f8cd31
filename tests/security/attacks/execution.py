"""Attacks by starting programs and processes, and by making code out of data."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import multiprocessing.popen_fork
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys

from security.attacks.registry import (
    Bait,
    Refused,
    attack,
    child,
    closing,
    libc,
    room,
    syscall,
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

# ---- starting ----


@attack("exec", baseline=False)
def runs_a_program(bait: Bait) -> object:
    return subprocess.run(["/bin/true"], check=True).returncode == 0


@attack("exec", baseline=False)
def runs_a_shell(bait: Bait) -> object:
    return os.system("exit 0") == 0 or 1 / 0


@attack("exec", baseline=False)
def spawns(bait: Bait) -> object:
    return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0 or 1 / 0


@attack("exec", baseline=False)
def forks(bait: Bait) -> object:
    return child(lambda: None) is None


@attack("exec", baseline=False)
def forks_and_runs(bait: Bait) -> object:
    return child(lambda: os.execv("/bin/true", ["true"])) is None


@attack("exec", baseline=False)
def starts_a_process_of_multiprocessing(bait: Bait) -> object:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return process.exitcode == 0 or 1 / 0


def _ends(pid: int) -> object:
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0 or 1 / 0


@attack("exec", baseline=False)
def clones(bait: Bait) -> object:
    return _ends(syscall("clone", signal.SIGCHLD, 0, 0, 0, 0))


@attack("exec", baseline=False)
def clones_with_a_signal_that_is_none(bait: Bait) -> object:
    """clone(0): a child that tells nobody of its end."""
    pid = syscall("clone", 0, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0x40000000)[1] == 0 or 1 / 0


@attack("exec", rare="needs clone3")
def clones_in_the_new_way(bait: Bait) -> object:
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return _ends(syscall("clone3", ctypes.byref(arguments), 64))


@attack("exec", baseline=False)
def runs_a_descriptor(bait: Bait) -> object:
    def deed() -> None:
        fd = os.open("/bin/true", os.O_RDONLY)
        os.execve(fd, ["true"], {})

    return child(deed) is None


@attack("exec", baseline=False)
def runs_a_descriptor_by_execveat(bait: Bait) -> object:
    fd = os.open("/bin/true", os.O_PATH)
    with closing(fd):
        none = (ctypes.c_char_p * 2)(b"true", None)
        return child(lambda: syscall("execveat", fd, b"", none, None, 0x1000)) is None


@attack("exec", baseline=False, rare="vm.memfd_noexec may refuse it")
def runs_what_it_made_in_memory(bait: Bait) -> object:
    fd = os.memfd_create("evil", 0)
    with closing(fd):
        os.write(fd, pathlib.Path("/bin/true").read_bytes())
        return child(lambda: os.execv(f"/proc/self/fd/{fd}", ["true"])) is None


@attack("exec", baseline=False)
def runs_what_it_wrote(bait: Bait) -> object:
    with room() as mine:
        shutil.copyfile("/bin/true", f"{mine}/evil")
        os.chmod(f"{mine}/evil", 0o700)
        return child(lambda: os.execv(f"{mine}/evil", ["true"])) is None


@attack("exec", baseline=False)
def becomes_another_program(bait: Bait) -> object:
    def deed() -> None:
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", ""])

    return child(deed) is None


# ---- code ----

_RETURN = b"\xc3" if platform.machine() == "x86_64" else b"\xc0\x03\x5f\xd6"


def _runs(address: int | None) -> object:
    if address in (None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "mmap")
    ctypes.CFUNCTYPE(None)(address)()
    return True


@attack("code", baseline=False)
def maps_memory_that_can_be_written_and_run(bait: Bait) -> object:
    place = _libc.mmap(None, 4096, 7, 0x22, -1, 0)
    if place not in (None, 2**64 - 1):
        ctypes.memmove(place, _RETURN, len(_RETURN))
    return _runs(place)


@attack("code", baseline=False)
def makes_memory_runnable(bait: Bait) -> object:
    place = _libc.mmap(None, 4096, 3, 0x22, -1, 0)
    ctypes.memmove(place, _RETURN, len(_RETURN))
    if _libc.mprotect(place, 4096, 5) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    return _runs(place)


@attack("code", baseline=False)
def makes_memory_runnable_with_a_key(bait: Bait) -> object:
    place = _libc.mmap(None, 4096, 3, 0x22, -1, 0)
    ctypes.memmove(place, _RETURN, len(_RETURN))
    syscall("pkey_mprotect", ctypes.c_void_p(place), 4096, 5, -1)
    return _runs(place)


@attack("code", baseline=False)
def maps_a_file_of_its_own_as_code(bait: Bait) -> object:
    with room() as mine:
        path = pathlib.Path(mine, "evil")
        path.write_bytes(_RETURN.ljust(4096, b"\0"))
        with path.open("rb") as file:
            return _runs(_libc.mmap(None, 4096, 5, 2, file.fileno(), 0))


@attack("code", baseline=False)
def makes_what_can_be_read_runnable(bait: Bait) -> object:
    def deed() -> None:
        syscall("personality", 0x0400000)  # READ_IMPLIES_EXEC
        with mmap.mmap(-1, 4096) as area:
            area[: len(_RETURN)] = _RETURN
            _runs(ctypes.addressof(ctypes.c_char.from_buffer(area)))

    return child(deed) is None


@attack("code", rare="the kernel may not run 32-bit calls, or this is another machine")
def calls_the_kernel_in_its_old_way(bait: Bait) -> object:
    """int 0x80 with 20, which is getpid there."""
    if platform.machine() != "x86_64":
        raise Refused("x86-64 only")
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    place = _libc.mmap(None, 4096, 7, 0x22, -1, 0)
    if place in (None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "mmap")
    ctypes.memmove(place, code, len(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(place)() == os.getpid() or 1 / 0


@attack("code", rare="the kernel may not have the x32 calls")
def calls_the_kernel_with_short_pointers(bait: Bait) -> object:
    return libc.syscall(ctypes.c_long(0x40000000 + 39)) == os.getpid() or 1 / 0
