"""A policy allows what it names and nothing else; a wrong one never comes into force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyproc import AccessDenied, ConfigError, RateLimited
from pyproc.access import Peer, glob_fits, load, parse
from pyproc.enforcement import Enforcer, review

POLICY = """
version = 1

[roles.reader]
functions = ["extract", "pages.*"]
deny = ["pages.remove"]
rate = 2
burst = 2
in_flight = 2
payload = "1KiB"
tenant = "acme"

[roles.admin]
functions = ["*"]
control = ["*"]

[[bindings]]
role = "reader"
uid = 1000

[[bindings]]
role = "admin"
uid = 1001
key = "ops"

[[bindings]]
role = "reader"
gid = 50
"""


@pytest.mark.parametrize(
    ("peer", "function", "allowed", "rule"),
    [
        (Peer(1000), "extract", True, "bindings[0] roles.reader 'extract'"),
        (Peer(1000), "pages.first", True, "bindings[0] roles.reader 'pages.*'"),
        (Peer(1000), "extracts", False, "no role of the caller allows it (roles: reader)"),
        (Peer(1000), "pages.remove", False, "roles.reader.deny 'pages.remove'"),
        (Peer(7), "extract", False, "no binding fits the caller"),
        (Peer(7, frozenset({50})), "extract", True, "bindings[2] roles.reader 'extract'"),
        (Peer(1001), "anything", False, "no binding fits the caller"),
        (Peer(1001, key="other"), "anything", False, "no binding fits the caller"),
        (Peer(1001, key="ops"), "anything", True, "bindings[1] roles.admin '*'"),
        (Peer(1001, frozenset({50}), "ops"), "pages.remove", False,
         "roles.reader.deny 'pages.remove'"),
    ],
)  # fmt: skip
def test_a_decision_names_its_rule(peer: Peer, function: str, allowed: bool, rule: str) -> None:
    decision = parse(POLICY).decide(peer, function)
    assert (decision.allowed, decision.rule) == (allowed, rule)


def test_an_empty_policy_denies_everything() -> None:
    assert not parse("version = 1").decide(Peer(0), "extract").allowed


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("*", "", True), ("a*", "a", True), ("a*c", "abbc", True), ("a*c", "abcd", False),
        ("a?c", "abc", True), ("a?c", "ac", False), ("*.x", "a.b.x", True), ("", "", True),
        ("", "a", False), ("**", "a", True), ("a*b*c", "a--b--c", True), ("[ab]", "a", False),
    ],
)  # fmt: skip
def test_globs_know_a_star_and_a_question_mark(glob: str, name: str, fits: bool) -> None:
    assert glob_fits(glob, name) is fits


def test_a_glob_of_many_stars_does_not_take_for_ever() -> None:
    assert not glob_fits("a*" * 100 + "b", "a" * 255)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version = 1\n[roles.r]\nfunctions = []\nfunctoins = []", 4, "did you mean 'functions'?"),
        ("version = 1\n[rolls.r]\nfunctions = []", 2, "did you mean 'roles'?"),
        ("version = 2", 1, "only version 1 is known"),
        ("version = 1\n[roles.r]\nrate = 1", 2, "'functions' is missing"),
        ("version = 1\n[roles.r]\nfunctions = 'all'", 3, "expected `array`, got `str`"),
        ("version = 1\n[roles.r]\nfunctions = ['a[b]']", 3, "only * and ? are known"),
        ("version = 1\n[roles.r]\nfunctions = []\nrate = -1", 4, "is needed"),
        ("version = 1\n[roles.r]\nfunctions = []\nburst = 4", 4, "burst needs rate"),
        ("version = 1\n[roles.r]\nfunctions = []\npayload = '1 MB'", 4, "a size is digits"),
        ("version = 1\n[roles.r]\nfunctions = []\ncontrol = ['pss']", 4, "did you mean 'ps'?"),
        ("version = 1\n[roles.reader]\nfunctions = []\n[[bindings]]\nrole = 'reeder'\nuid = 1", 5,
         "did you mean 'reader'?"),
        ("version = 1\n[roles.r]\nfunctions = []\n\n[[bindings]]\nrole = 'r'", 5, "fits nobody"),
        ("version = 1\n[roles.r]\nfunctions = []\n[[bindings]]\nrole = 'r'\nuser = 'nobody-here'",
         6, "no user 'nobody-here'"),
        ("version = 1\n[roles.r]\nfunctions = []\n[[bindings]]\nrole = 'r'\nuid = 1\nuser = 'root'",
         7, "use one of the two"),
        ("version = 1\nroles = [", 2, "is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_refused_with_line_and_reason(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "policy.toml")
    assert caught.value.line == line, str(caught.value)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"policy.toml:{line}: ")


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    file.chmod(0o664)
    with pytest.raises(ConfigError, match="others may change it"):
        load(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A policy that is as it should be."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    path.chmod(0o600)
    return path


def test_a_bad_reload_leaves_the_old_policy_in_force_and_is_told(file: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    enforcer = Enforcer(file, lambda event, **fields: told.append((event, fields)))
    before = enforcer.policy
    file.write_text(POLICY + "\n[roles.new]\nfunctionz = []\n")
    with pytest.raises(ConfigError, match="functions"):
        enforcer.reload()
    assert enforcer.policy is before
    enforcer.leave(enforcer.admit(Peer(1000), "extract"))
    assert [event for event, _ in told] == ["policy.load", "policy.refused", "access.allowed"]
    assert "policy.toml:31" in told[1][1]["reason"]


def test_a_good_reload_takes_effect_at_once(file: Path) -> None:
    enforcer = Enforcer(file)
    file.write_text(POLICY.replace("uid = 1000", "uid = 4000"))
    enforcer.reload()
    with pytest.raises(AccessDenied):
        enforcer.admit(Peer(1000), "extract")
    enforcer.admit(Peer(4000), "extract")


def test_a_caller_learns_nothing_of_the_policy_and_the_log_learns_all(file: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    enforcer = Enforcer(file, lambda event, **fields: told.append((event, fields)))
    with pytest.raises(AccessDenied) as caught:
        enforcer.admit(Peer(1000), "pages.remove", correlation_id="abc")
    assert isinstance(caught.value, PermissionError)
    assert str(caught.value) == "access denied"
    assert caught.value.correlation_id == "abc"
    assert told[-1] == ("access.denied", {
        "uid": 1000, "key_id": None, "function": "pages.remove",
        "rule": "roles.reader.deny 'pages.remove'", "correlation_id": "abc",
    })  # fmt: skip


def test_a_role_has_a_rate_a_number_of_calls_and_a_size(file: Path) -> None:
    enforcer = Enforcer(file)
    with pytest.raises(RateLimited, match="1025 bytes, 1024 are allowed"):
        enforcer.admit(Peer(1000), "extract", 1025)
    first = enforcer.admit(Peer(1000), "extract", 1024)
    second = enforcer.admit(Peer(1000), "pages.first")
    with pytest.raises(RateLimited, match="2 calls are running already"):
        enforcer.admit(Peer(1000), "extract")
    enforcer.leave(first)
    enforcer.leave(second)
    with pytest.raises(RateLimited, match="more than 2 calls a second") as caught:
        enforcer.admit(Peer(1000), "extract")
    assert 0 < caught.value.retry_after <= 0.5


def test_the_control_socket_has_roles_of_its_own() -> None:
    policy = parse(POLICY)
    assert policy.may_control(Peer(1001, key="ops"), "drain").allowed
    assert not policy.may_control(Peer(1000), "ps").allowed


def test_the_table_for_c_holds_numbers_and_text_only() -> None:
    table = parse(POLICY).table()
    assert table["roles"][0] == {
        "name": "reader", "allow": ["extract", "pages.*"], "deny": ["pages.remove"], "rate": 2.0,
        "burst": 2.0, "in_flight": 2, "payload": 1024, "tenant": "acme", "control": [],
    }  # fmt: skip
    assert table["bindings"][2] == {
        "role": 0, "uid": -1, "gid": 50, "key": "", "name": "bindings[2]",
    }  # fmt: skip
    assert parse(POLICY).tenants() == ("", "acme")


def test_a_review_says_who_may_call_what_and_when_it_was_used() -> None:
    used = {("reader", "extract"): "2026-01-02T03:04:05Z"}
    lines = review(parse(POLICY), ["extract", "pages.first", "pages.remove", "other"], used)
    by_reader = [line for line in lines if line["who"] == "uid 1000"]
    assert [(line["function"], line["allowed"], line["last_used"]) for line in by_reader] == [
        ("extract", True, "2026-01-02T03:04:05Z"),
        ("pages.first", True, None),
        ("pages.remove", False, None),
    ]
    assert {line["function"] for line in lines if line["who"] == "uid 1001 and key ops"} == {
        "extract", "pages.first", "pages.remove", "other",
    }  # fmt: skip


def test_users_and_groups_may_have_names() -> None:
    text = "version = 1\n[roles.r]\nfunctions = ['*']\n[[bindings]]\nrole = 'r'\nuser = 'root'\n"
    assert parse(text).decide(Peer(0), "f").allowed
    assert not parse(text).decide(Peer(os.getuid() + 12345), "f").allowed
