"""systemd's two habits: sockets that it opens for a service, and what a service tells it.

Both are environment variables and one datagram, so no library is needed; without systemd every
function does nothing. See sd_listen_fds(3) and sd_notify(3). Any thread.
"""

from __future__ import annotations

import os
import socket
import time

_FIRST = 3


def listening() -> list[int]:
    """Descriptors of the sockets that systemd has opened for this very process; they are ours from
    then on, and the variables are gone, so that no child takes them for its own."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = list(range(_FIRST, _FIRST + int(count)))
    for fd in found:
        os.set_inheritable(fd, False)
    return found


def notify(*states: str) -> bool:
    """Tells the service manager; False when there is none. States: READY=1, STOPPING=1,
    WATCHDOG=1, STATUS=..., and for a reload what `reloading` says."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    address = "\0" + place[1:] if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(states).encode(), address)
        except OSError:
            return False  # a manager that has gone is no reason to stop serving
    return True


def reloading() -> bool:
    """A reload begins; `notify("READY=1")` ends it."""
    stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify("RELOADING=1", f"MONOTONIC_USEC={stamp}")


def watchdog_seconds() -> float | None:
    """How often WATCHDOG=1 has to be said, halved to be on the safe side; None: never."""
    micros, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not micros.isdecimal() or pid not in ("", str(os.getpid())):
        return None
    return int(micros) / 2e6
