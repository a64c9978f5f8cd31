"""What a program would need of a strict sandbox, learnt by running it.

A child interpreter runs a script or a module (pytest, for instance) with an audit hook
(PEP 578) that notes files, compiled modules, programs, processes and sockets; from that comes a
proposal. It learns from what the run did and nothing else, and C libraries that open files
themselves are not seen: a proposal is to be read, and tried. Run trusted code only: nothing
is refused to it. Any thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyproc import _places
from pyproc._places import is_below

#: What every strict worker may read anyway, or has of its own.
_GIVEN = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/proc", "/sys", "/dev",
    "/usr/share/zoneinfo", "/usr/share/locale", "/usr/share/fonts", "/usr/share/mime",
    "/etc/localtime", "/etc/ld.so.cache", "/etc/mime.types", "/etc/fonts", "/etc/magic",
)  # fmt: skip
_READERS = {"inet": ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf")}
_FAMILIES = {1: "unix", 2: "inet", 10: "inet6", 16: "netlink"}
#: Different facts of one kind that are kept.
NOTES_MAX = 10000


@dataclass(frozen=True)
class Learned:
    """What a run used. late: compiled modules that a function imported, not the top of a module.
    read, written: files outside of what strict grants. programs: that were started; "fork" for a
    process that is none. network: kinds of sockets. exit_code: of the run."""

    late: tuple[str, ...]
    read: tuple[str, ...]
    written: tuple[str, ...]
    programs: tuple[str, ...]
    network: tuple[str, ...]
    exit_code: int

    @property
    def profile(self) -> str:
        """The strictest one in which it runs."""
        return "baseline" if self.programs else "strict"

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules for Pool(preload=), so that they are there before the start; baseline lets them
        come later."""
        return self.late if self.profile == "strict" else ()

    def _options(self) -> dict[str, Any]:
        read = [path for path in self.read if path not in self.written]
        found: dict[str, Any] = {"profile": self.profile}
        if read:
            found["read"] = read
        if self.written:
            found["write"] = list(_directories(self.written))
        if self.network:
            found["network"] = list(self.network)
        return found

    def as_python(self) -> str:
        """Arguments of Pool."""
        options = self._options()
        words = [repr(options.pop("profile")), *(f"{k}={v!r}" for k, v in options.items())]
        text = f"sandbox=Sandbox({', '.join(words)})"
        return text + (f", preload={list(self.preload)!r}" if self.preload else "")

    def as_toml(self) -> str:
        """The same as sections of a configuration."""
        options = self._options()
        lines = ["[pool]"]
        if self.preload:
            lines.append(f"preload = {json.dumps(self.preload)}")
        lines += ["", "[pool.sandbox]", *(f"{k} = {json.dumps(v)}" for k, v in options.items())]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **asdict(self), "profile": self.profile, "preload": self.preload,
            "python": self.as_python(), "toml": self.as_toml(),
        }  # fmt: skip


def learn(words: Sequence[str], *, timeout: float | None = None) -> Learned:
    """Runs `script.py ARGUMENT...` or `-m MODULE ARGUMENT...` with this interpreter and says what
    it used; its output goes where ours does. timeout: seconds.

    Raises FileNotFoundError where there is no such script, subprocess.TimeoutExpired, and
    RuntimeError when the program left without its notes (a crash).
    """
    words = list(words)
    if not words or (words[0] == "-m" and len(words) < 2):
        raise ValueError("learn(words=): a script, or '-m' and a module, is needed")
    if words[0] != "-m" and not os.path.isfile(words[0]):
        raise FileNotFoundError(f"learn(words=[{words[0]!r}]): there is no such script")
    with tempfile.TemporaryDirectory(prefix="pyproc-learn-") as folder:
        notes = os.path.join(folder, "notes")
        command = [sys.executable, "-c", _RUN, notes, str(NOTES_MAX), *words]
        done = subprocess.run(command, timeout=timeout, check=False)  # nosec B603
        try:
            with open(notes) as file:
                found = json.load(file)
        except (OSError, ValueError):
            raise RuntimeError(
                f"{words[0]} ended (exit code {done.returncode}) without leaving its notes: it "
                f"crashed, or called os._exit"
            ) from None
        return _judge(found, words, done.returncode, folder)


def _judge(found: dict[str, list[str]], words: list[str], code: int, folder: str) -> Learned:
    given = [*_GIVEN, *_places.of_interpreter(sys.executable, False), folder]
    places = [os.path.realpath(path) for path in found["path"] if path]
    network = tuple(sorted(_FAMILIES[int(n)] for n in found["socket"] if int(n) in _FAMILIES))
    if network:
        given += _READERS["inet"]
    home = tempfile.gettempdir()  # workers have a TMPDIR of their own
    writes = {os.path.realpath(path) for path in found["write"]}
    reads = {os.path.realpath(path) for path in found["read"]} - writes
    # Of directories on sys.path strict grants the modules.
    reads = {path for path in reads if not (_is_module(path) and is_below(path, places))}
    script = [] if words[0] == "-m" else [os.path.realpath(words[0])]
    return Learned(
        late=tuple(sorted(set(found["late"]))),
        read=_kept(reads, [*given, *script, home]),
        written=_kept(writes, ["/dev", "/proc", home]),
        programs=tuple(sorted(set(found["program"]))),
        network=network,
        exit_code=code,
    )


def _is_module(path: str) -> bool:
    return path.endswith((".py", ".pyc", ".so")) or os.path.isdir(path)


def _kept(paths: set[str], given: list[str]) -> tuple[str, ...]:
    return tuple(
        sorted(path for path in paths if os.path.exists(path) and not is_below(path, given))
    )


def _directories(paths: tuple[str, ...]) -> tuple[str, ...]:
    """A file that is made anew is made in its directory."""
    return tuple(sorted({path if os.path.isdir(path) else os.path.dirname(path) for path in paths}))


#: Knows nothing of pyproc, and imports all of its own before it looks.
_RUN = r"""
import atexit, json, os, runpy, sys
notes, most, *words = sys.argv[1:]
found = {name: {} for name in ("late", "read", "write", "program", "socket")}
most, owner, busy = int(most), os.getpid(), [False]

def note(kind, value):
    if len(found[kind]) < most:
        found[kind][value] = True

def is_late():
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith("<frozen") and file not in ("<string>", runpy.__file__):
            if frame.f_code.co_name != "<module>":
                return True
        frame = frame.f_back
    return False

def opened(path, mode, flags):
    if isinstance(path, int) or path is None:
        return
    path = os.path.abspath(os.fsdecode(path))
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    note("write" if writes else "read", path)

CHANGES = ("os.remove", "os.mkdir", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate")

def look(event, args):
    if busy[0] or os.getpid() != owner:
        return
    busy[0] = True
    try:
        if event == "open":
            opened(*args)
        elif event == "import":
            if isinstance(args[1], str) and args[1].endswith(".so") and is_late():
                note("late", args[0])
        elif event in ("os.listdir", "os.scandir"):
            opened(args[0], None, 0)
        elif event in CHANGES:
            for path in args:
                if isinstance(path, (str, bytes)):
                    note("write", os.path.dirname(os.path.abspath(os.fsdecode(path))))
        elif event in ("os.exec", "os.posix_spawn", "subprocess.Popen"):
            note("program", os.fsdecode(args[0]) if args[0] else os.fsdecode(args[1][0]))
        elif event in ("os.fork", "os.forkpty"):
            note("program", "fork")
        elif event == "os.system":
            note("program", "/bin/sh")
        elif event == "socket.__new__":
            note("socket", str(int(args[1])))
    except Exception as error:
        print("pyproc learn:", event, repr(error), file=sys.stderr)
    finally:
        busy[0] = False

def write():
    if os.getpid() == owner:
        busy[0] = True
        out = {kind: sorted(values) for kind, values in found.items()}
        with open(notes, "w") as file:
            json.dump({**out, "path": sys.path}, file)

atexit.register(write)
sys.argv = words[1:] if words[0] == "-m" else words
sys.path[0] = os.getcwd() if words[0] == "-m" else os.path.dirname(os.path.abspath(words[0]))
sys.addaudithook(look)
if words[0] == "-m":
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(words[0], run_name="__main__")
"""
