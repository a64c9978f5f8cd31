"""Seccomp profiles in OCI's (Docker's) JSON, compiled by libseccomp.

Everything that is not understood is an error that names its key: a rule that is left out silently
would be a hole.
"""

from __future__ import annotations

import json
from typing import Any

from pyproc import _core
from pyproc import _syscalls as calls

_ACTIONS = {
    "SCMP_ACT_KILL": calls.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": calls.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": calls.KILL_PROCESS,
    "SCMP_ACT_TRAP": calls.TRAP,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_ALLOW": calls.ALLOW,
    "SCMP_ACT_LOG": calls.LOG,
}
_ENDS = (calls.KILL_PROCESS, calls.KILL_THREAD, calls.TRAP)
_OPERATORS = {
    "SCMP_CMP_EQ": calls.EQ,
    "SCMP_CMP_NE": calls.NE,
    "SCMP_CMP_GT": calls.GT,
    "SCMP_CMP_GE": calls.GE,
    "SCMP_CMP_LT": calls.LT,
    "SCMP_CMP_LE": calls.LE,
    "SCMP_CMP_MASKED_EQ": calls.MASKED,
}
_ARCHITECTURES = calls.words("""
    x86 x86_64 x32 arm aarch64 mips mips64 mips64n32 mipsel mipsel64 mipsel64n32 ppc ppc64 ppc64le
    s390 s390x parisc parisc64 riscv64
""")
_SIZE_MAX = 1024 * 1024


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path

    def wrong(self, key: str, text: str) -> ValueError:
        return ValueError(f"Sandbox(syscalls={self.path!r}): {key}: {text}")

    def load(self) -> dict[str, Any]:
        with open(self.path, "rb") as file:
            text = file.read(_SIZE_MAX + 1)
        if len(text) > _SIZE_MAX:
            raise self.wrong("the file", "larger than 1 MiB")
        try:
            profile = json.loads(text)
        except ValueError as error:
            raise self.wrong("the file", f"no JSON: {error}") from None
        if not isinstance(profile, dict):
            raise self.wrong("the file", "a JSON object is needed")
        return profile

    def known(self, key: str, found: dict[str, Any], allowed: tuple[str, ...]) -> None:
        for name in found:
            if name not in allowed:
                raise self.wrong(f"{key}{name}", f"unknown; {', '.join(allowed)} are known")

    def action(self, key: str, entry: dict[str, Any], name: str, number: str) -> int:
        action = entry.get(name)
        if not isinstance(action, str) or action not in _ACTIONS:
            raise self.wrong(f"{key}{name}", f"unknown action {action!r}")
        code = entry.get(number)
        if code is None:
            code = 1  # EPERM, as OCI has it
        elif isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 4095:
            raise self.wrong(f"{key}{number}", f"an errno from 0 to 4095 is needed, not {code!r}")
        value = _ACTIONS[action]
        return value | code if action == "SCMP_ACT_ERRNO" else value

    def listed(self, key: str, value: object) -> list[Any]:
        """An array; null stands for an empty one, as in Go."""
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, f"a list is needed, not {value!r:.100}")
        return value

    def architectures(self, profile: dict[str, Any]) -> list[str]:
        found: list[str] = []
        listed = list(self.listed("architectures", profile.get("architectures")))
        for i, entry in enumerate(self.listed("archMap", profile.get("archMap"))):
            if not isinstance(entry, dict):
                raise self.wrong(f"archMap[{i}]", "an object is needed")
            self.known(f"archMap[{i}].", entry, ("architecture", "subArchitectures"))
            below = self.listed(f"archMap[{i}].subArchitectures", entry.get("subArchitectures"))
            listed += [entry.get("architecture"), *below]
        for i, name in enumerate(listed):
            plain = str(name).removeprefix("SCMP_ARCH_").lower()
            if not str(name).startswith("SCMP_ARCH_") or plain not in _ARCHITECTURES:
                raise self.wrong(f"architectures[{i}]", f"unknown architecture {name!r}")
            found.append(plain)
        return found

    def condition(self, key: str, entry: Any) -> calls.Condition:
        if not isinstance(entry, dict):
            raise self.wrong(key, "an object is needed")
        self.known(f"{key}.", entry, ("index", "value", "valueTwo", "op"))
        index: Any = entry.get("index")
        value: Any = entry.get("value")
        two: Any = entry.get("valueTwo", 0)
        op = entry.get("op")
        if not isinstance(op, str) or op not in _OPERATORS:
            raise self.wrong(f"{key}.op", f"unknown operator {op!r}")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= 5:
            raise self.wrong(f"{key}.index", f"from 0 to 5 is possible, not {index!r}")
        for name, number in (("value", value), ("valueTwo", two)):
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**64:
                raise self.wrong(f"{key}.{name}", f"a number of 64 bits is needed, not {number!r}")
        if op == "SCMP_CMP_MASKED_EQ":  # OCI: value is the mask
            return (index, _OPERATORS[op], two, value)
        return (index, _OPERATORS[op], value, 0)

    def rules(self, key: str, entry: Any) -> list[calls.Rule]:
        if not isinstance(entry, dict):
            raise self.wrong(key, "an object is needed")
        self.known(
            f"{key}.",
            entry,
            ("names", "name", "action", "errnoRet", "args", "comment", "includes", "excludes",
             "errno"),
        )  # fmt: skip
        for name in ("includes", "excludes"):
            if entry.get(name):
                raise self.wrong(f"{key}.{name}", "conditions are not supported; write the rules")
        action = self.action(f"{key}.", entry, "action", "errnoRet")
        names = entry.get("names", [entry["name"]] if "name" in entry else None)
        if not isinstance(names, list) or not names:
            raise self.wrong(f"{key}.names", "a list of names is needed")
        args = tuple(
            self.condition(f"{key}.args[{i}]", arg)
            for i, arg in enumerate(self.listed(f"{key}.args", entry.get("args")))
        )
        if len({arg[0] for arg in args}) < len(args):
            # libseccomp allows one condition an argument; OCI then means "any of them".
            groups: list[tuple[calls.Condition, ...]] = [(arg,) for arg in args]
        else:
            groups = [args]
        found: list[calls.Rule] = []
        for i, name in enumerate(names):
            if not isinstance(name, str) or not _core.knows_call(name):
                raise self.wrong(f"{key}.names[{i}]", f"unknown system call {name!r}")
            found += [(name, action, group) for group in groups]
        return found


def compiled(path: str) -> bytes:
    """The filter of that file. ValueError names the key that is wrong."""
    reader = _Reader(path)
    profile = reader.load()
    reader.known(
        "",
        profile,
        ("defaultAction", "defaultErrnoRet", "architectures", "archMap", "syscalls", "comment"),
    )
    standard = reader.action("", profile, "defaultAction", "defaultErrnoRet")
    rules: list[calls.Rule] = []
    for i, entry in enumerate(reader.listed("syscalls", profile.get("syscalls"))):
        rules += reader.rules(f"syscalls[{i}]", entry)
    # What is never allowed is for stage one, unless this is as strict.
    rules = [rule for rule in rules if rule[0] not in calls.NEVER or rule[1] in _ENDS]
    named = {rule[0] for rule in rules}
    rules += [rule for rule in calls.left_to_first() if rule[0] not in named]
    if standard not in (calls.ALLOW, calls.LOG):  # what the worker itself cannot do without
        rules += [rule for rule in calls.essential_rules() if rule[0] not in named]
    architectures = reader.architectures(profile)
    return _core.compile_filter(standard, calls.KILL_PROCESS, 0, architectures, rules)
