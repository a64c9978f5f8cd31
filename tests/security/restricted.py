"""Runs a Python program under a filter that imitates an older or a restricted host.

`python restricted.py docker|no-landlock|FILE PROGRAM ARGUMENT...`: docker refuses namespaces,
mounts and keyrings as Docker's default filter does; no-landlock answers as a kernel without
Landlock; FILE is a filter in OCI's JSON.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pyproc import _core, _oci
from pyproc import _syscalls as calls

_DOCKER = """
    unshare setns mount umount2 pivot_root keyctl add_key request_key open_tree move_mount fsopen
    fsmount fsconfig fspick mount_setattr bpf perf_event_open userfaultfd kcmp
"""
_NEW = 0x7E020000  # CLONE_NEW*
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _rules(kind: str) -> list[calls.Rule]:
    if kind == "no-landlock":
        return [(f"landlock_{name}", calls.ENOSYS, ()) for name in ("create_ruleset",)]
    rules: list[calls.Rule] = [(name, calls.EPERM, ()) for name in calls.words(_DOCKER)]
    rules += [("clone", calls.EPERM, (bit,)) for bit in calls.bits(0, _NEW)]
    return [*rules, ("clone3", calls.refuse(errno.ENOSYS), ())]


def main() -> None:
    """Does not return."""
    kind, *command = sys.argv[1:]
    if kind.endswith(".json"):
        code = _oci.compiled(kind)
    else:
        code = _core.compile_filter(calls.ALLOW, calls.KILL_PROCESS, 0, [], _rules(kind))
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(code) // 8, code)
    if os.geteuid() != 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "install the filter")
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    main()
