"""Attacks by sockets and by what processes share without files."""

# `f() is None` says that f did not raise.
# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import ctypes
import os
import socket
from typing import Any

from security.attacks.registry import (
    Bait,
    Refused,
    attack,
    closing,
    has_secret,
    libc,
    syscall,
)

libc.shmat.restype = ctypes.c_void_p

# ---- network ----


def _connect(family: int, kind: int, address: Any, protocol: int = 0) -> object:
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(5)
        sock.connect(address)
        return sock.send(b"x") == 1


@attack("network")
def connects_by_tcp(bait: Bait) -> object:
    return _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", bait["tcp"]))


@attack("network", rare="the machine may have no IPv6")
def connects_by_tcp6(bait: Bait) -> object:
    return _connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", bait["tcp6"]))


@attack("network", rare="the kernel may have no MPTCP")
def connects_by_mptcp(bait: Bait) -> object:
    return _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", bait["tcp"]), 262)


@attack("network")
def connects_with_the_first_data(bait: Bait) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return sock.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", bait["tcp"])) == 1


@attack("network")
def sends_by_udp(bait: Bait) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", ("127.0.0.1", bait["udp"])) == 1


@attack("network", rare="the machine may have no IPv6")
def makes_a_socket_of_udp6(bait: Bait) -> object:
    return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close() is None


@attack("network")
def listens(bait: Bait) -> object:
    return socket.create_server(("127.0.0.1", 0)).close() is None


@attack("network")
def asks_for_a_name(bait: Bait) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 53))
        return True


@attack("network")
def connects_by_a_path(bait: Bait) -> object:
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, bait["unix"])


@attack("network")
def sends_to_a_path(bait: Bait) -> object:
    return _connect(socket.AF_UNIX, socket.SOCK_DGRAM, bait["unix_datagrams"])


@attack("network")
def connects_by_an_abstract_name(bait: Bait) -> object:
    return _connect(socket.AF_UNIX, socket.SOCK_STREAM, b"\0" + bait["abstract"].encode())


@attack("network")
def sends_to_an_abstract_name(bait: Bait) -> object:
    return _connect(socket.AF_UNIX, socket.SOCK_DGRAM, b"\0" + bait["abstract_d"].encode())


@attack("network")
def sends_to_a_path_from_a_pair(bait: Bait) -> object:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        return left.sendto(b"x", bait["unix_datagrams"]) == 1


@attack("network")
def sends_to_an_abstract_name_from_a_pair(bait: Bait) -> object:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        return left.sendto(b"x", b"\0" + bait["abstract_d"].encode()) == 1


@attack("network")
def sends_to_a_path_from_a_raw_pair(bait: Bait) -> object:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
    with left, right:
        return left.sendmsg([b"x"], [], 0, bait["unix_datagrams"]) == 1


@attack("network")
def talks_to_the_kernel_by_netlink(bait: Bait) -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        return True


@attack("network", root=True, rare="the kernel may have no packet sockets")
def listens_to_every_packet(bait: Bait) -> object:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300).close() is None


@attack("network", root=True)
def makes_a_raw_socket(bait: Bait) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close() is None


@attack("network", rare="the kernel may have no vsock")
def reaches_the_machine_below(bait: Bait) -> object:
    return socket.socket(40, socket.SOCK_STREAM).close() is None


@attack("network", rare="the kernel may have no AF_ALG")
def uses_the_kernels_ciphers(bait: Bait) -> object:
    return socket.socket(38, socket.SOCK_SEQPACKET).close() is None


@attack("network", rare="the kernel may have no such pairs")
def makes_a_pair_of_another_family(bait: Bait) -> object:
    left, right = socket.socketpair(30, socket.SOCK_SEQPACKET)  # TIPC
    with left, right:
        return True


@attack("network", rare="io_uring may be switched off")
def sets_up_a_ring(bait: Bait) -> object:
    parameters = ctypes.create_string_buffer(120)
    os.close(syscall("io_uring_setup", 1, parameters))
    return True


# ---- shared without files ----


@attack("ipc", rare="the kernel may have no System V IPC")
def attaches_shared_memory(bait: Bait) -> object:
    number = syscall("shmget", bait["sysv"], 0, 0)
    place = libc.shmat(number, None, 0)
    if place in (None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "shmat")
    try:
        return has_secret(ctypes.string_at(place, 64))
    finally:
        libc.shmdt(ctypes.c_void_p(place))


@attack("ipc", rare="the kernel may have no System V IPC")
def makes_shared_memory(bait: Bait) -> object:
    number = syscall("shmget", 0, 4096, 0o1600)
    syscall("shmctl", number, 0, 0)
    return True


@attack("ipc", rare="the kernel may have no System V IPC")
def takes_a_semaphore(bait: Bait) -> object:
    number = syscall("semget", bait["sysv"], 1, 0)
    return syscall("semop", number, (ctypes.c_short * 3)(0, -1, 0x800), 1) == 0


@attack("ipc", rare="the kernel may have no System V IPC")
def sends_a_message(bait: Bait) -> object:
    number = syscall("msgget", bait["sysv"], 0)
    return syscall("msgsnd", number, (ctypes.c_long * 2)(1, 0), 8, 0x800) == 0


@attack("ipc", rare="the kernel may have no System V IPC")
def takes_a_message(bait: Bait) -> object:
    number = syscall("msgget", bait["sysv"], 0)
    return syscall("msgrcv", number, (ctypes.c_long * 8)(), 56, 0, 0x800) >= 0


@attack("ipc", rare="the kernel may have no message queues")
def opens_a_message_queue(bait: Bait) -> object:
    fd = syscall("mq_open", bait["mq"].encode(), os.O_RDWR | os.O_NONBLOCK, 0, 0)
    os.close(fd)
    return True


@attack("ipc", rare="the kernel may have no message queues")
def makes_a_message_queue(bait: Bait) -> object:
    name = f"pyproc-attack-{os.getpid()}".encode()
    fd = syscall("mq_open", name, os.O_RDWR | os.O_CREAT, 0o600, 0)
    with closing(fd):
        syscall("mq_unlink", name)
    return True


@attack("ipc", rare="keyrings may be refused to containers")
def leaves_a_key(bait: Bait) -> object:
    return syscall("add_key", b"user", b"pyproc-attack", b"x", 1, -2) > 0


@attack("ipc", rare="keyrings may be refused to containers")
def asks_for_its_keyring(bait: Bait) -> object:
    return syscall("keyctl", 0, -4, 0) > 0


@attack("ipc", rare="keyrings may be refused to containers")
def asks_for_a_key(bait: Bait) -> object:
    try:
        return syscall("request_key", b"user", b"pyproc-no-such-key", 0, 0)
    except OSError as error:
        if error.errno == 126:  # ENOKEY: it has looked
            return True
        raise


@attack("ipc", rare="the kernel may have no pidfds")
def joins_a_namespace(bait: Bait) -> object:
    if os.geteuid() != 0:
        raise Refused("only root can")
    fd = os.open(f"/proc/{bait['outsider']}/ns/uts", os.O_RDONLY)
    with closing(fd):
        return syscall("setns", fd, 0) == 0
