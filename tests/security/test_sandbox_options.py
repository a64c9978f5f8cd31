"""Sandbox values: what is granted works, what is wrong is refused before any worker starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyproc import Pool, Sandbox, SandboxUnavailable

APP = Path(__file__).parent / "apps" / "confined.py"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"profile": "stric"}, "profile"),
        ({"read": ["relative/path"]}, "read"),
        ({"write": ["/no/such/place"]}, "write"),
        ({"exec": ["/usr/../bin"]}, "exec"),
        ({"read": ["/proc/self"]}, "read"),
        ({"profile": "compute", "network": True}, "network"),
        ({"profile": "none", "write": ["/usr"]}, "write"),
        ({"profile": "strict", "exec": ["/usr"]}, "exec"),
        ({"network": ["ipx"]}, "network"),
        ({"user": "nobody-of-that-name"}, "user"),
        ({"group": 5}, "group"),
        ({"capabilities": ["net_bind"]}, "capabilities"),
        ({"namespaces": ["mounts"]}, "namespaces"),
        ({"syscalls": ["raed"]}, "syscalls"),
        ({"late_native_imports": True}, "late_native_imports"),
        ({"on_unsupported": "ignore"}, "on_unsupported"),
    ],
)
def test_a_bad_option_is_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=word):
        Sandbox(**options)


@pytest.mark.parametrize("options", [{"read": "/usr"}, {"network": 5}, {"scratch": "yes"}])
def test_a_value_of_the_wrong_type_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        Sandbox(**options)


def test_a_symlink_is_refused_with_the_path_that_it_stands_for(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/usr")
    with pytest.raises(ValueError, match="write '/usr'"):
        Sandbox(read=[link])


def test_an_unknown_profile_is_refused_by_the_pool() -> None:
    with pytest.raises(ValueError, match="sandbox='strickt'"):
        Pool(APP, sandbox="strickt")


def test_what_is_granted_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with Pool(APP, workers=1, sandbox=Sandbox("strict", read=[tmp_path])) as pool:
        assert pool.call("read", str(tmp_path / "file")) == "text"
        with pytest.raises(OSError, match=r"Permission|Read-only"):
            pool.call("write", str(tmp_path / "new"), "text")


def test_what_is_granted_can_be_written_and_is_the_hosts(tmp_path: Path) -> None:
    with Pool(APP, workers=1, sandbox=Sandbox(write=[tmp_path])) as pool:
        assert pool.call("write", str(tmp_path / "new"), "text") == 4
    assert (tmp_path / "new").read_text() == "text"
    assert (tmp_path / "new").stat().st_uid == os.geteuid()


def test_a_network_that_is_granted_can_be_used() -> None:
    with Pool(APP, workers=1, sandbox=Sandbox("strict", network=["inet"])) as pool:
        assert pool.call("connects", 2)
        with pytest.raises(PermissionError):
            pool.call("connects", 10)


def profile_of(path: Path, **changes: Any) -> Path:
    profile: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read", "write", "open", "close"], "action": "SCMP_ACT_ALLOW"}],
    }
    path.write_text(json.dumps(profile | changes))
    return path


def test_a_seccomp_profile_in_json_is_in_force_once_calls_come(tmp_path: Path) -> None:
    path = profile_of(tmp_path / "profile.json")
    with Pool(APP, workers=1, sandbox=Sandbox(syscalls=path)) as pool:
        assert pool.call("parent")
        with pytest.raises(PermissionError):
            pool.call("read", "/etc/hostname")


def test_a_profile_may_choose_errnos_by_argument(tmp_path: Path) -> None:
    rule = {
        "names": ["getpriority"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 42,
        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}],
    }
    path = profile_of(tmp_path / "p.json", defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    number = {"x86_64": 140, "aarch64": 141}[os.uname().machine]
    with Pool(APP, workers=1, sandbox=Sandbox(syscalls=path)) as pool:
        assert pool.call("system_call", number) == 42


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "defaultAction"),
        ({"architectures": ["SCMP_ARCH_VAX"]}, r"architectures\[0\]"),
        ({"syscalls": [{"names": ["raed"], "action": "SCMP_ACT_ALLOW"}]}, r"syscalls\[0\].names"),
        ({"syscalls": [{"names": ["read"], "action": "ALLOW"}]}, r"syscalls\[0\].action"),
        ({"default": 1}, "default"),
    ],
)
def test_a_key_that_is_not_understood_is_named(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    path = profile_of(tmp_path / "profile.json", **changes)
    with pytest.raises(ValueError, match=key):
        Sandbox(syscalls=path)


def test_what_the_kernel_lacks_is_an_error_with_a_remedy() -> None:
    if Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("this kernel runs AppArmor")
    with pytest.raises(SandboxUnavailable) as caught:
        Pool(APP, sandbox=Sandbox(apparmor="docker-default"))
    assert caught.value.mechanism == "apparmor"
    assert caught.value.remedy


def test_a_report_instead_of_an_error_is_shown_as_degraded() -> None:
    if Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("this kernel runs AppArmor")
    wanted = Sandbox("strict", apparmor="docker-default", on_unsupported="report")
    with Pool(APP, workers=1, sandbox=wanted) as pool:
        assert pool.workers()[0].sandbox == "strict(degraded: the apparmor label)"
        assert pool.isolation_report()[0].state == "strict(degraded: the apparmor label)"
