"""Attacks on other processes: looking into them, striking them."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import sys

from security.attacks.registry import (
    Bait,
    attack,
    closing,
    has_secret,
    libc,
    read,
    syscall,
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

# ---- looking ----


@attack("proc")
def reads_anothers_environment(bait: Bait) -> object:
    return has_secret(read(f"/proc/{bait['outsider']}/environ"))


@attack("proc")
def reads_anothers_arguments(bait: Bait) -> object:
    return has_secret(read(f"/proc/{bait['outsider']}/cmdline"))


@attack("proc")
def reads_anothers_map(bait: Bait) -> object:
    return read(f"/proc/{bait['outsider']}/maps").index(b"r-x") > 0


@attack("proc")
def reads_anothers_memory(bait: Bait) -> object:
    fd = os.open(f"/proc/{bait['outsider']}/mem", os.O_RDONLY)
    with closing(fd):
        return has_secret(os.pread(fd, 64, bait["outsider_address"]))


@attack("proc")
def writes_anothers_memory(bait: Bait) -> object:
    fd = os.open(f"/proc/{bait['outsider']}/mem", os.O_RDWR)
    with closing(fd):
        return os.pwrite(fd, os.pread(fd, 8, bait["outsider_address"]), bait["outsider_address"])


@attack("proc")
def lists_anothers_descriptors(bait: Bait) -> object:
    return len(os.listdir(f"/proc/{bait['outsider']}/fd")) > 0


@attack("proc")
def reads_anothers_status(bait: Bait) -> object:
    return read(f"/proc/{bait['outsider']}/status").index(b"Name:") >= 0


@attack("proc")
def learns_anothers_program(bait: Bait) -> object:
    return os.readlink(f"/proc/{bait['outsider']}/exe")


@attack("proc")
def lists_processes(bait: Bait) -> object:
    return os.listdir("/proc").index(str(bait["outsider"])) >= 0


@attack("proc")
def reads_the_hosts_environment(bait: Bait) -> object:
    return read(f"/proc/{bait['host']}/environ").index(b"=") > 0


@attack("proc")
def opens_the_hosts_memory(bait: Bait) -> object:
    os.close(os.open(f"/proc/{bait['host']}/mem", os.O_RDWR))
    return True


@attack("proc", rare="the host must be dumpable")
def lists_the_hosts_descriptors(bait: Bait) -> object:
    return len(os.listdir(f"/proc/{bait['host']}/fd")) > 0


@attack("proc", root=True)
def reads_the_keepers_map(bait: Bait) -> object:
    return read(f"/proc/{os.getppid()}/maps").index(b"r-x") > 0


@attack("proc")
def makes_another_the_first_to_be_killed(bait: Bait) -> object:
    fd = os.open(f"/proc/{bait['outsider']}/oom_score_adj", os.O_RDWR)
    with closing(fd):
        return os.write(fd, b"500")


@attack("proc", baseline=False)
def reads_its_own_map(bait: Bait) -> object:
    return read("/proc/self/maps").index(b"r-x") > 0


@attack("proc", baseline=False)
def reads_the_environment_it_was_born_with(bait: Bait) -> object:
    return read("/proc/self/environ").index(b"PATH=") >= 0


@attack("proc")
def writes_its_own_code(bait: Bait) -> object:
    fd = os.open("/proc/self/mem", os.O_RDWR)
    with closing(fd):
        place = ctypes.cast(libc.getpid, ctypes.c_void_p).value or 0
        return os.pwrite(fd, os.pread(fd, 1, place), place)


@attack("proc", baseline=False)
def lists_the_machines_connections(bait: Bait) -> object:
    return read("/proc/net/tcp").index(b"local_address") > 0


@attack("proc", baseline=False)
def lists_the_machines_mounts(bait: Bait) -> object:
    return read("/proc/self/mountinfo").index(b" / ") > 0


@attack("proc", baseline=False)
def reads_how_long_the_machine_runs(bait: Bait) -> object:
    return float(read("/proc/uptime").split()[0]) > 0


# ---- tracing ----


def _let_go(pid: int) -> object:
    """One who is traced stays until the tracer has seen the end."""
    os.waitpid(pid, 0x40000000)
    return _libc.ptrace(17, pid, None, None) == 0


@attack("trace", victim=True)
def attaches(bait: Bait) -> object:
    if _libc.ptrace(16, bait["victim"], None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return _let_go(bait["victim"])


@attack("trace", victim=True)
def seizes(bait: Bait) -> object:
    if _libc.ptrace(0x4206, bait["victim"], None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    _libc.ptrace(0x4207, bait["victim"], None, None)
    return _let_go(bait["victim"])


def _vectors(bait: Bait, buffer: ctypes.Array[ctypes.c_char]) -> tuple[object, object]:
    kind = ctypes.c_uint64 * 2
    return kind(ctypes.addressof(buffer), len(buffer)), kind(bait["outsider_address"], len(buffer))


@attack("trace")
def copies_memory_out(bait: Bait) -> object:
    buffer = ctypes.create_string_buffer(64)
    here, there = _vectors(bait, buffer)
    syscall("process_vm_readv", bait["outsider"], here, 1, there, 1, 0)
    return has_secret(buffer.raw)


@attack("trace")
def copies_memory_in(bait: Bait) -> object:
    buffer = ctypes.create_string_buffer(1)
    buffer.raw = b"t"
    here, there = _vectors(bait, buffer)
    return syscall("process_vm_writev", bait["outsider"], here, 1, there, 1, 0) == 1


@attack("trace", rare="needs pidfd_getfd")
def takes_a_descriptor(bait: Bait) -> object:
    pidfd = syscall("pidfd_open", bait["outsider"], 0)
    with closing(pidfd):
        fd = syscall("pidfd_getfd", pidfd, bait["outsider_fd"], 0)
        with closing(fd):
            return has_secret(os.pread(fd, 1000, 0))


@attack("trace", rare="needs kcmp")
def compares_with_another(bait: Bait) -> object:
    return syscall("kcmp", os.getpid(), bait["outsider"], 1, 0, 0) >= 0


@attack("trace")
def learns_an_address_of_anothers(bait: Bait) -> object:
    head, size = ctypes.c_uint64(), ctypes.c_uint64()
    syscall("get_robust_list", bait["outsider"], ctypes.byref(head), ctypes.byref(size))
    return True


# ---- striking ----


@attack("signal")
def signals_the_host(bait: Bait) -> object:
    return os.kill(bait["host"], 0) is None


@attack("signal")
def signals_the_keeper(bait: Bait) -> object:
    return os.kill(os.getppid(), 0) is None


@attack("signal")
def signals_another_pools_worker(bait: Bait) -> object:
    return os.kill(bait["other_pid"], 0) is None


@attack("signal", victim=True)
def kills(bait: Bait) -> object:
    return os.kill(bait["victim"], signal.SIGKILL) is None


@attack("signal", baseline=False)
def signals_everybody(bait: Bait) -> object:
    """The kernel answers 0 even where it has reached nobody: only a refused call is one seen."""
    return os.kill(-1, 0) is None


@attack("signal", victim=True)
def kills_a_group(bait: Bait) -> object:
    return os.killpg(bait["victim"], signal.SIGKILL) is None


@attack("signal", victim=True)
def kills_a_thread(bait: Bait) -> object:
    return syscall("tgkill", bait["victim"], bait["victim"], signal.SIGKILL) == 0


@attack("signal", victim=True)
def kills_a_thread_in_the_old_way(bait: Bait) -> object:
    return syscall("tkill", bait["victim"], signal.SIGKILL) == 0


def _information() -> ctypes.Array[ctypes.c_char]:
    information = ctypes.create_string_buffer(128)
    ctypes.memmove(information, (signal.SIGTERM).to_bytes(4, "little"), 4)
    ctypes.memmove(ctypes.addressof(information) + 8, (-1).to_bytes(4, "little", signed=True), 4)
    return information


@attack("signal", victim=True)
def queues_a_signal(bait: Bait) -> object:
    return syscall("rt_sigqueueinfo", bait["victim"], signal.SIGTERM, _information()) == 0


@attack("signal", victim=True)
def queues_a_signal_for_a_thread(bait: Bait) -> object:
    victim = bait["victim"]
    return syscall("rt_tgsigqueueinfo", victim, victim, signal.SIGTERM, _information()) == 0


@attack("signal", victim=True, rare="needs pidfds")
def kills_by_a_descriptor(bait: Bait) -> object:
    pidfd = syscall("pidfd_open", bait["victim"], 0)
    with closing(pidfd):
        return syscall("pidfd_send_signal", pidfd, signal.SIGKILL, 0, 0) == 0


def _strikes_by(pair: tuple[socket.socket, socket.socket], own: object) -> object:
    with pair[0], pair[1]:
        if callable(own):
            own(pair[0])
        flags = fcntl.fcntl(pair[0], fcntl.F_GETFL)
        fcntl.fcntl(pair[0], fcntl.F_SETFL, flags | os.O_ASYNC)
        pair[1].send(b"x")
        return True


@attack("signal", victim=True)
def has_another_told_of_input(bait: Bait) -> object:
    def own(end: socket.socket) -> None:
        fcntl.fcntl(end, 10, signal.SIGKILL)  # F_SETSIG
        fcntl.fcntl(end, fcntl.F_SETOWN, bait["victim"])

    return _strikes_by(socket.socketpair(), own)


@attack("signal", victim=True)
def has_another_told_of_input_by_ioctl(bait: Bait) -> object:
    def own(end: socket.socket) -> None:
        fcntl.ioctl(end, 0x8901, bait["victim"].to_bytes(4, sys.byteorder))  # FIOSETOWN

    return _strikes_by(socket.socketpair(), own)


@attack("signal", victim=True)
def has_anothers_thread_told_of_input(bait: Bait) -> object:
    def own(end: socket.socket) -> None:
        owner = (ctypes.c_int * 2)(0, bait["victim"])
        if libc.fcntl(end.fileno(), 15, owner) != 0:  # F_SETOWN_EX
            raise OSError(ctypes.get_errno(), "F_SETOWN_EX")

    return _strikes_by(socket.socketpair(), own)


@attack("signal", victim=True)
def slows_another_down(bait: Bait) -> object:
    return os.setpriority(os.PRIO_PROCESS, bait["victim"], 19) is None


@attack("signal", victim=True)
def slows_a_whole_user_down(bait: Bait) -> object:
    """Only the victim's group, so that the tests go on."""
    return os.setpriority(os.PRIO_PGRP, bait["victim"], 19) is None


@attack("signal", victim=True)
def keeps_another_from_the_disk(bait: Bait) -> object:
    return syscall("ioprio_set", 1, bait["victim"], 3 << 13) == 0


@attack("signal", victim=True)
def moves_another_to_one_processor(bait: Bait) -> object:
    return os.sched_setaffinity(bait["victim"], {min(os.sched_getaffinity(0))}) is None


@attack("signal", victim=True)
def puts_another_to_the_end_of_the_line(bait: Bait) -> object:
    return os.sched_setscheduler(bait["victim"], os.SCHED_IDLE, os.sched_param(0)) is None


@attack("signal", victim=True)
def limits_another(bait: Bait) -> object:
    limits = (ctypes.c_uint64 * 2)(3, 3)
    return syscall("prlimit64", bait["victim"], 7, ctypes.byref(limits), 0) == 0


@attack("signal", victim=True)
def reads_anothers_limits(bait: Bait) -> object:
    limits = (ctypes.c_uint64 * 2)()
    return syscall("prlimit64", bait["victim"], 7, 0, ctypes.byref(limits)) == 0
