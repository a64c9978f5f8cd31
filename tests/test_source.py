"""The style guide, checked: who may include whom, doors, names, limits, forbidden calls.

C is read as text whose comments and strings are blanked. A function is what begins with `{`
alone in the first column and ends with `}` alone there, as clang-format lays it out.
"""

from __future__ import annotations

import ast
import re
import statistics
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
C_FILES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".c", ".h"})
C_TESTS = sorted(path for path in (ROOT / "tests").rglob("*") if path.suffix in {".c", ".h"})
PYTHON_FILES = sorted(
    path
    for folder in ("pyproc", "tests", "tools", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)

#: A room -> the rooms it may include besides itself. `include` is the public header.
SIDE = ("wire", "ipc", "security", "metrics")
MAY_INCLUDE: dict[str, tuple[str, ...]] = {
    "include": (),
    "base": (),
    **dict.fromkeys(SIDE, ("base",)),
    "event": ("include", "base", *SIDE),
    "supervisor": ("include", "base", *SIDE, "event"),
    "pool": ("include", "base", *SIDE, "event", "supervisor"),
    "server": ("include", "base", *SIDE, "event", "supervisor", "pool"),
    "client": ("include", "base", *SIDE, "event"),
    "worker": ("base", "wire", "ipc", "security"),
    "keeper": ("base", "security"),
    "binding": ("include", "base"),
}
#: Files of other rooms that a room may include all the same.
ALSO = {
    "binding": ("worker/serve.h", "security/compile.h"),
    "metrics": ("include/pyproc.h",),  # what it counts is public
}

#: An outside header -> the only place that may include it.
DOORS = {
    r"Python\.h": "binding/",
    r"uv\.h": "event/",
    r".*\.pb-c\.h": "wire/",
    r"protobuf-c/.*": "wire/",
    r"seccomp\.h": "security/sandbox_seccomp.c",
}

FORBIDDEN_CALLS = (
    "strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "gets", "system",
    "popen", "alloca", "uv_spawn", "tmpnam", "mktemp", "rand", "signal",
)  # fmt: skip
#: In a library, nothing may end the process or print; the keeper is a program.
LIBRARY_FORBIDDEN = ("exit", "abort", "printf", "puts", "perror", "sigaction")

C_FUNCTION_LIMIT = 80
C_FUNCTION_MEDIAN = 15
C_FILE_LIMIT = 600
PYTHON_FILE_LIMIT = 400
LINE_LIMIT = 100


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(CSRC).parts[0]


def runs_before_exec(path: Path) -> bool:
    """The keeper's program and the sandbox: their process is ours, and its next life a worker."""
    return room_of(path) == "keeper" or path.name.startswith("sandbox")


@cache
def code_of(path: Path) -> str:
    """The file with comments and the inside of strings blanked, lines kept."""
    blank = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)

    def keep_lines(found: re.Match[str]) -> str:
        text = found.group()
        return '""' if text.startswith('"') else re.sub(r"[^\n]", " ", text)

    return blank.sub(keep_lines, path.read_text())


@cache
def functions_of(path: Path) -> list[tuple[str, int, str]]:
    """(head, lines from the brace to its end, body) of each function of a C file."""
    lines = code_of(path).splitlines()
    found = []
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = start
            while head > 0 and lines[head - 1].strip() and lines[head - 1][0] not in "}#":
                head -= 1
            text = " ".join(lines[head:start])
            found.append((text, number - start + 1, "\n".join(lines[start : number + 1])))
            start = None
    return found


def function_name(head: str) -> str:
    found = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head))
    assert found is not None, head
    return found.group(1)


def test_there_is_a_core_to_check() -> None:
    assert len(C_FILES) > 20
    assert sum(len(functions_of(path)) for path in C_FILES) > 100


def test_a_room_includes_only_rooms_to_its_left() -> None:
    wrong = []
    for path in C_FILES:
        room = room_of(path)
        for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE):
            other = included.split("/")[0] if "/" in included else ""
            allowed = other in (room, *MAY_INCLUDE[room]) or included in ALSO.get(room, ())
            beside = room == "include" and included == "pyproc.h"
            if not allowed and not beside and not re.fullmatch(r".*\.pb-c\.h", included):
                wrong.append(f"{name_of(path)} includes {included}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("header", DOORS)
def test_an_outside_library_has_one_door(header: str) -> None:
    pattern = re.compile(rf'^\s*#\s*include\s+[<"]{header}[>"]', re.MULTILINE)
    wrong = [
        name_of(path)
        for path in C_FILES
        if pattern.search(path.read_text())
        and not str(path.relative_to(CSRC)).startswith(DOORS[header])
    ]
    assert not wrong


def test_headers_guard_themselves_and_are_found_by_room() -> None:
    wrong = []
    for path in C_FILES:
        if path.suffix == ".h":
            words = re.sub(r"\W", "_", str(path.relative_to(CSRC))).upper()
            guard = "PYPROC_H" if path.name == "pyproc.h" else f"PP_{words}"
            if f"#ifndef {guard}\n#define {guard}\n" not in path.read_text():
                wrong.append(f"{name_of(path)} lacks the guard {guard}")
    assert not wrong, "\n".join(wrong)


def test_every_c_file_opens_with_its_name_and_idea() -> None:
    wrong = []
    for path in [*C_FILES, *C_TESTS]:
        comment, ended, _ = path.read_text().partition("*/")
        if not comment.startswith(f"/* {path.name} - ") or not ended or comment.count("\n") > 24:
            wrong.append(name_of(path))
    assert not wrong, "\n".join(wrong)


def test_every_python_file_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in PYTHON_FILES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_functions_are_short() -> None:
    lengths = [
        (lines, f"{name_of(path)}: {function_name(head)}")
        for path in C_FILES
        for head, lines, _ in functions_of(path)
    ]
    too_long = [f"{name} has {lines} lines" for lines, name in lengths if lines > C_FUNCTION_LIMIT]
    assert not too_long, "\n".join(too_long)
    assert statistics.median(lines for lines, _ in lengths) <= C_FUNCTION_MEDIAN


def test_files_are_short() -> None:
    wrong = []
    for path in [*C_FILES, *C_TESTS, *PYTHON_FILES]:
        limit = PYTHON_FILE_LIMIT if path.suffix == ".py" else C_FILE_LIMIT
        lines = path.read_text().count("\n")
        if lines > limit:
            wrong.append(f"{name_of(path)} has {lines} lines of {limit}")
    assert not wrong, "\n".join(wrong)


def test_lines_fit_and_have_no_tabs_or_ends() -> None:
    wrong = [
        f"{name_of(path)}:{number}"
        for path in [*C_FILES, *C_TESTS, *PYTHON_FILES]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LINE_LIMIT or "\t" in line or line != line.rstrip()
    ]
    assert not wrong, "\n".join(wrong)


def test_names_say_whose_a_function_is() -> None:
    wrong = []
    for path in C_FILES:
        for head, _, _ in functions_of(path):
            name = function_name(head)
            local = re.search(r"\bstatic\b", head) and path.suffix == ".c"
            shared = re.match(r"(pp|pyproc)_|PyInit_|main$", name)
            if bool(local) == bool(shared):
                wrong.append(f"{name_of(path)}: {name}")
    assert not wrong, "\n".join(wrong)


def test_structs_are_not_typedefed() -> None:
    wrong = [
        name_of(path)
        for path in C_FILES
        if re.search(r"\btypedef\s+(struct|union|enum)\b", code_of(path))
    ]
    assert not wrong


def test_nothing_forbidden_is_called() -> None:
    wrong = []
    for path in C_FILES:
        calls = [*FORBIDDEN_CALLS]
        if not runs_before_exec(path):
            calls += LIBRARY_FORBIDDEN
        if room_of(path) == "worker":  # its process is ours, not a host's
            calls.remove("sigaction")
        pattern = re.compile(rf"(?<![\w.>])({'|'.join(calls)})\s*\(")
        wrong += [
            f"{name_of(path)}:{number}: {found}"
            for number, line in enumerate(code_of(path).splitlines(), 1)
            for found in pattern.findall(line)
        ]
    assert not wrong, "\n".join(wrong)


def test_goto_only_goes_down() -> None:
    wrong = []
    for path in C_FILES:
        for head, _, body in functions_of(path):
            for found in re.finditer(r"\bgoto\s+(\w+)\s*;", body):
                label = re.search(rf"^\s*{found.group(1)}\s*:", body, re.MULTILINE)
                if label is None or label.start() < found.start():
                    wrong.append(f"{name_of(path)}: {function_name(head)}: {found.group(1)}")
    assert not wrong, "\n".join(wrong)


def test_macros_do_not_return() -> None:
    wrong = [
        f"{name_of(path)}: {found.splitlines()[0]}"
        for path in C_FILES
        for found in re.findall(r"^\s*#\s*define(?:[^\n]*\\\n)*[^\n]*", code_of(path), re.MULTILINE)
        if re.search(r"\b(return|goto)\b", found)
    ]
    assert not wrong, "\n".join(wrong)


def test_descriptors_are_close_on_exec_from_creation() -> None:
    makers = {
        r"socketpair|socket": "SOCK_CLOEXEC",
        r"accept4": "SOCK_CLOEXEC",
        r"eventfd": "EFD_CLOEXEC",
        r"epoll_create1": "EPOLL_CLOEXEC",
        r"memfd_create": "MFD_CLOEXEC",
        r"pipe2|open|openat": "O_CLOEXEC",
        r"recvmsg": "MSG_CMSG_CLOEXEC",
        r"accept|pipe|dup|creat|epoll_create|fopen": "(never)",
        r"dup2": "(only to make a worker's descriptors 0 to 2, which it must inherit)",
    }
    wrong = []
    for path in C_FILES:
        code = code_of(path)
        if runs_before_exec(path):
            code = code.replace("dup2", "")
        for names, flag in makers.items():
            for found in re.finditer(rf"(?<![\w.>])({names})\s*\(([^;]*);", code):
                if flag not in found.group(2):
                    line = code.count("\n", 0, found.start()) + 1
                    wrong.append(f"{name_of(path)}:{line}: {found.group(1)} without {flag}")
    assert not wrong, "\n".join(wrong)


MARKS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")


def test_nothing_is_left_for_later() -> None:
    wrong = [
        f"{name_of(path)}:{number}"
        for path in [*C_FILES, *C_TESTS, *PYTHON_FILES, ROOT / "setup.py", ROOT / "Makefile"]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MARKS.search(line)
    ]
    assert not wrong, "\n".join(wrong)


LOADERS = ("loads", "load", "Unpickler")


def test_the_host_never_unpickles() -> None:
    """Only the worker's side may load a pickle: what it gets is the host's own bytes. The exception
    is chosen by the user for one Executor, results="pickle", and stands in a file of its own."""
    chosen = ROOT / "pyproc" / "_unpickle.py"
    users = [
        name_of(path)
        for path in sorted((ROOT / "pyproc").rglob("*.py"))
        if path != chosen and "_unpickle" in path.read_text()
    ]
    assert users == ["pyproc/_tasks.py"]
    assert chosen.read_text().count("pickle.loads(") == 1
    wrong = []
    for path in sorted((ROOT / "pyproc").rglob("*.py")):
        if path.is_relative_to(ROOT / "pyproc" / "worker") or path == chosen:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or node.attr not in LOADERS:
                continue
            if re.search(r"pickle|marshal|shelve|dill", ast.unparse(node)):
                wrong.append(f"{name_of(path)}:{node.lineno}")
    assert not wrong
