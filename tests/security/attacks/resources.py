"""Attacks by taking more than one's share; the sandboxed pools have limits, as they should."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import os
import threading
import time

from security.attacks.registry import Bait, attack, closing, room

MIB = 2**20


@attack("resources")
def starts_many_processes(bait: Bait) -> object:
    pids = []
    try:
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                time.sleep(0.3)
                os._exit(0)
            pids.append(pid)
        time.sleep(0.1)
    finally:
        for pid in pids:
            os.waitpid(pid, 0)
    return len(pids)


@attack("resources")
def starts_many_threads(bait: Bait) -> object:
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait, args=(20,)) for _ in range(60)]
    try:
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    finally:
        gate.set()
    for thread in threads:
        thread.join()
    return True


@attack("resources")
def takes_much_memory(bait: Bait) -> object:
    kept = []
    for _ in range(30):
        kept.append(bytearray(os.urandom(1) * (8 * MIB)))
        time.sleep(0.005)
    return len(kept)


@attack("resources")
def takes_memory_in_files_of_memory(bait: Bait) -> object:
    fd = os.memfd_create("evil", 0)
    with closing(fd):
        for _ in range(30):
            os.write(fd, bytes(8 * MIB))
            time.sleep(0.005)
        return True


@attack("resources")
def writes_a_large_file(bait: Bait) -> object:
    with room() as mine:
        fd = os.open(f"{mine}/large", os.O_CREAT | os.O_WRONLY)
        with closing(fd):
            os.pwrite(fd, b"x", 64 * MIB)
            return True


@attack("resources")
def reserves_a_large_file(bait: Bait) -> object:
    with room() as mine:
        fd = os.open(f"{mine}/large", os.O_CREAT | os.O_WRONLY)
        with closing(fd):
            os.posix_fallocate(fd, 0, 64 * MIB)
            return True


@attack("resources")
def opens_many_files(bait: Bait) -> object:
    kept: list[int] = []
    try:
        for _ in range(300):
            kept.append(os.dup(1))
    finally:
        for fd in kept:
            os.close(fd)
    return True


@attack("resources")
def makes_many_pipes(bait: Bait) -> object:
    kept: list[int] = []
    try:
        for _ in range(150):
            kept += os.pipe()
    finally:
        for fd in kept:
            os.close(fd)
    return True


@attack("resources")
def makes_a_pipe_large(bait: Bait) -> object:
    import fcntl

    reader, writer = os.pipe()
    with closing(reader, writer):
        return fcntl.fcntl(writer, 1031, MIB) == MIB or 1 / 0


@attack("resources")
def burns_a_processor(bait: Bait) -> object:
    until = time.process_time() + 0.8
    while time.process_time() < until:
        pass
    return True


@attack("resources")
def burns_a_processor_in_threads(bait: Bait) -> object:
    threads = [threading.Thread(target=burns_a_processor, args=(bait,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return True


@attack("resources")
def prints_much(bait: Bait) -> object:
    for _ in range(64):
        os.write(1, b"x" * 65535 + b"\n")
    return True


@attack("resources")
def answers_much(bait: Bait) -> object:
    return bytes(9 * MIB)


@attack("resources")
def never_ends(bait: Bait) -> object:
    """Without a deadline it would go on; a second and a half stands for it."""
    time.sleep(1.5)
    return True
