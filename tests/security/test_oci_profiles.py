"""Sandbox(syscalls=FILE): each thing in an OCI profile that is not understood is named, before any
worker starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool, Sandbox

APP = Path(__file__).parent / "apps" / "violating.py"
_EQ = "SCMP_CMP_EQ"


def rule(**changes: Any) -> dict[str, Any]:
    return {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", **changes}]}


def arg(**changes: Any) -> dict[str, Any]:
    return rule(args=[{"index": 0, "value": 1, "op": _EQ, **changes}])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"defaultAction": "SCMP_ACT_ALOW"}, "defaultAction"),
    ({"defaultAction": ["SCMP_ACT_ALLOW"]}, "defaultAction"),
    ({"defaultAction": None}, "defaultAction"),
    ({"defaultErrnoRet": "EPERM"}, "defaultErrnoRet"),
    ({"defaultErrnoRet": 4096}, "defaultErrnoRet"),
    ({"architectures": "SCMP_ARCH_X86_64"}, "architectures"),
    ({"architectures": ["SCMP_ARCH_VAX"]}, "architectures[0]"),
    ({"architectures": ["x86_64"]}, "architectures[0]"),
    ({"archMap": 5}, "archMap"),
    ({"archMap": ["SCMP_ARCH_X86_64"]}, "archMap[0]"),
    ({"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": "x"}]},
     "archMap[0].subArchitectures"),
    ({"archMap": [{"architecture": 5}]}, "architectures[0]"),
    ({"archMap": [{"arch": "SCMP_ARCH_X86_64"}]}, "archMap[0].arch"),
    ({"syscalls": {"read": 1}}, "syscalls"),
    ({"syscalls": ["read"]}, "syscalls[0]"),
    ({"listenerPath": "/run/listener"}, "listenerPath"),
    ({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, "flags"),
    (rule(names=["raed"]), "syscalls[0].names[0]"),
    (rule(names=["read", 7]), "syscalls[0].names[1]"),
    (rule(names="read"), "syscalls[0].names"),
    (rule(names=[]), "syscalls[0].names"),
    (rule(action="SCMP_ACT_NOTIFY"), "syscalls[0].action"),
    (rule(action="SCMP_ACT_TRACE"), "syscalls[0].action"),
    (rule(action=None), "syscalls[0].action"),
    (rule(errnoRet=-1), "syscalls[0].errnoRet"),
    (rule(errnoRet=True), "syscalls[0].errnoRet"),
    (rule(includes={"caps": ["CAP_SYS_ADMIN"]}), "syscalls[0].includes"),
    (rule(excludes={"arches": ["s390x"]}), "syscalls[0].excludes"),
    (rule(includes={"minKernel": "4.8"}), "syscalls[0].includes"),
    (rule(priority=1), "syscalls[0].priority"),
    (rule(args={"index": 0}), "syscalls[0].args"),
    (rule(args=["x"]), "syscalls[0].args[0]"),
    (arg(index=6), "syscalls[0].args[0].index"),
    (arg(index="0"), "syscalls[0].args[0].index"),
    (arg(value=2**64), "syscalls[0].args[0].value"),
    (arg(value="1"), "syscalls[0].args[0].value"),
    (arg(valueTwo=-1), "syscalls[0].args[0].valueTwo"),
    (arg(op="SCMP_CMP_LIKE"), "syscalls[0].args[0].op"),
    (arg(op=[_EQ]), "syscalls[0].args[0].op"),
    (arg(mask=1), "syscalls[0].args[0].mask"),
]  # fmt: skip


def file_of(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", **changes}))
    return path


@pytest.mark.parametrize(("changes", "key"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_not_understood_is_named(changes: dict[str, Any], key: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, **changes)
    with pytest.raises(ValueError, match=re.escape(f"Sandbox(syscalls={str(path)!r}): {key}: ")):
        Sandbox("strict", syscalls=path)


def test_a_profile_of_the_shape_of_dockers_default_starts(tmp_path: Path) -> None:
    """One default errno, an architecture map, groups with comments, empty conditions and nulls."""
    allowed = ["openat", "close", "fstat", "newfstatat", "lseek", "getdents64", "mmap", "mprotect"]
    path = file_of(
        tmp_path,
        defaultErrnoRet=1,
        archMap=[
            {"architecture": "SCMP_ARCH_X86_64",
             "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        syscalls=[
            {"names": allowed, "action": "SCMP_ACT_ALLOW", "args": [], "comment": "",
             "includes": {}, "excludes": {}},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": None},
        ],
    )  # fmt: skip
    with Pool(APP, workers=1, sandbox=Sandbox("baseline", syscalls=path)) as pool:
        assert pool.call("add", 1, 2) == 3
