"""Roles at the socket: what a policy gives, counts and takes away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyproc
from pyproc import access
from pyproc.errors import ConfigError
from pyproc.server import Server

TARGET = str(Path(__file__).resolve().parent / "apps" / "served.py")
ME = os.geteuid()


@pytest.fixture
def pool() -> Iterator[pyproc.Pool]:
    with pyproc.Pool(TARGET, workers=2, sandbox="none") as pool:
        yield pool


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s.sock"


def policy(role: str, extra: str = "", binding: str = f"uid = {ME}") -> access.Policy:
    return access.parse(
        f'version = 1\n[roles.user]\n{role}\n{extra}\n[[bindings]]\nrole = "user"\n{binding}\n'
    )


def test_a_role_gives_its_functions_and_no_others(pool: pyproc.Pool, place: Path) -> None:
    rules = policy('functions = ["double", "e*"]\ndeny = ["ec*"]')
    with Server(pool, place, policy=rules) as server, pyproc.connect(place) as client:
        assert client.call("double", 2) == 4
        assert list(client.functions()) == ["double"]
        for name in ("echo", "admin_reset", "no_such_function"):
            with pytest.raises(pyproc.AccessDenied) as caught:
                client.call(name)
            assert caught.value.correlation_id
        assert server.usage()["user", "double"][0] == 1
        assert server.stats()["denied"] == 3


def test_nobody_without_a_binding_connects(pool: pyproc.Pool, place: Path) -> None:
    rules = policy('functions = ["*"]', binding=f"uid = {ME + 1}")
    with Server(pool, place, policy=rules), pytest.raises(pyproc.AccessDenied):
        pyproc.connect(place)


def test_the_core_decides_as_the_policy_says(pool: pyproc.Pool, place: Path) -> None:
    rules = access.parse(
        f"""
        version = 1
        [roles.reader]
        functions = ["double", "echo", "p?d"]
        [roles.closed]
        functions = ["secret"]
        deny = ["echo", "*_reset"]
        [roles.admin]
        functions = ["*"]
        [[bindings]]
        role = "reader"
        uid = {ME}
        [[bindings]]
        role = "closed"
        gid = {os.getegid()}
        [[bindings]]
        role = "admin"
        uid = {ME}
        key = "ops"
        """
    )
    names = list(pool.functions())
    secret = b"k" * 32
    with Server(pool, place, policy=rules, keys={"ops": secret}):
        for key in ("", "ops"):
            peer = access.Peer(ME, frozenset({os.getegid(), *os.getgroups()}), key)
            expected = {name for name in names if rules.decide(peer, name).allowed}
            with pyproc.connect(place, token=secret if key else None, key_id=key or None) as client:
                assert set(client.functions()) == expected


def test_a_role_has_a_rate(pool: pyproc.Pool, place: Path) -> None:
    rules = policy('functions = ["*"]\nrate = 0.5\nburst = 3')
    with Server(pool, place, policy=rules), pyproc.connect(place) as client:
        assert [client.call("double", n) for n in range(3)] == [0, 2, 4]
        with pytest.raises(pyproc.RateLimited) as caught:
            client.call("double", 3)
        assert 0 < caught.value.retry_after <= 2


def test_a_role_has_calls_under_way_and_bytes(pool: pyproc.Pool, place: Path) -> None:
    rules = policy('functions = ["*"]\nin_flight = 2\npayload = "1KiB"')
    with Server(pool, place, policy=rules), pyproc.connect(place) as client:
        with pytest.raises(pyproc.AccessDenied, match="larger"):
            client.call("echo", b"x" * 2000)
        futures = [client.submit("sleep", 0.3) for _ in range(6)]
        ends: list[Any] = [future.exception(timeout=30) for future in futures]
        assert [type(end) for end in ends] == [type(None)] * 2 + [pyproc.RateLimited] * 4


def test_a_policy_is_replaced_at_once_and_a_wrong_one_never(pool: pyproc.Pool, place: Path) -> None:
    rules = policy('functions = ["double"]')
    with Server(pool, place, policy=rules) as server:
        client = pyproc.connect(place)
        with client:
            with pytest.raises(pyproc.AccessDenied):
                client.call("pid")
            server.update(policy('functions = ["pid"]'))
            assert client.call("pid") > 0
            with pytest.raises(pyproc.AccessDenied):
                client.call("double", 1)
            with pytest.raises(ConfigError, match="no pool"):
                server.update(policy('functions = ["double"]\ntenant = "other"'))
            assert client.call("pid") > 0
            server.update(policy('functions = ["*"]', binding=f"uid = {ME + 1}"))
            with pytest.raises((pyproc.Disconnected, pyproc.AccessDenied)):
                client.call("pid")


def test_no_two_tenants_share_a_worker(place: Path) -> None:
    secrets = {"a": b"a" * 32, "b": b"b" * 32}
    rules = access.parse(
        "version = 1\n"
        + "".join(
            f'[roles.{name}]\nfunctions = ["*"]\ntenant = "{name}"\n'
            f'[[bindings]]\nrole = "{name}"\nkey = "{name}"\n'
            for name in secrets
        )
    )
    with (
        pyproc.Pool(TARGET, workers=2, sandbox="none") as one,
        pyproc.Pool(TARGET, workers=2, sandbox="none") as other,
    ):
        pools = {"a": one, "b": other}
        with Server(pools, place, policy=rules, keys=secrets):
            pids: dict[str, set[int]] = {}
            for name, secret in secrets.items():
                with pyproc.connect(place, token=secret, key_id=name) as client:
                    futures = [client.submit("pid") for _ in range(40)]
                    pids[name] = {future.result(timeout=30) for future in futures}
            assert pids["a"] <= {worker.pid for worker in one.workers()}
            assert pids["b"] <= {worker.pid for worker in other.workers()}
            assert not pids["a"] & pids["b"]


def test_decisions_stand_in_the_audit_log(place: Path, tmp_path: Path) -> None:
    import json

    log = tmp_path / "audit.jsonl"
    with pyproc.Pool(TARGET, workers=1, audit=log, sandbox="none") as pool:
        rules = policy('functions = ["double", "secret"]')
        with Server(pool, place, policy=rules, audit_allowed=True), pyproc.connect(place) as client:
            assert client.call("double", 1) == 2
            with pytest.raises(pyproc.AccessDenied) as denied:
                client.call("admin_reset")
            with pytest.raises(ValueError, match="correlation"):
                client.call("secret", "/etc/shadow")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    by_name = {line["event"]: line for line in lines}
    assert {"auth.ok", "access.allowed", "access.denied", "call.failed"} <= set(by_name)
    assert by_name["access.allowed"]["rule"] == "bindings[0]"
    assert by_name["access.denied"]["correlation_id"] == denied.value.correlation_id
    assert "/etc/shadow" in by_name["call.failed"]["detail"]
