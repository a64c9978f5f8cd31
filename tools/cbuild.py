"""Compiles and links this repository's C: each object once, and again only when needed.

`setup.py` makes the package's binaries with it, `tests/` the C tests and the fuzz targets,
so that all of them run the same sources under the same flags. An object's folder is named
after the compiler and its flags: a sanitised build, another Python and a plain build never
meet. An object is fresh while the command and every file it read are older than it.
Standard library only; functions may be called from several threads or processes at once.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PROTO = ROOT / "proto" / "pyproc.proto"

#: Rooms of the host's core, left to right; the C library is exactly these.
CORE_ROOMS = (
    *("base", "wire", "ipc", "security", "metrics", "event"),
    *("supervisor", "pool", "server", "client"),
)
WORKER_ROOMS = ("base", "wire", "ipc", "worker")
LIBRARIES = {
    "libuv": "libuv1-dev",
    "libprotobuf-c": "libprotobuf-c-dev",
    "libseccomp": "libseccomp-dev",
}

WARNINGS = [
    *("-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes"),
    *("-Wmissing-prototypes", "-Wconversion", "-Wvla"),
]
COMMON = [
    *("-std=c11", "-D_GNU_SOURCE", "-fPIC"),
    *("-fvisibility=hidden", "-fstack-protector-strong"),
]
LINK = ("-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed")


class BuildError(Exception):
    """A tool is missing or failed; the text is what the user should read."""


def sanitizers() -> tuple[str, ...]:
    """The sanitizers asked for by PYPROC_SANITIZE ("address,undefined" or "thread"); test-only."""
    names = tuple(n for n in os.environ.get("PYPROC_SANITIZE", "").split(",") if n)
    unknown = set(names) - {"address", "undefined", "thread"}
    if unknown:
        raise BuildError(f"PYPROC_SANITIZE names an unknown sanitizer: {', '.join(unknown)}")
    return names


def flags_for(sanitize: Sequence[str], *, werror: bool) -> list[str]:
    """Compile flags of the project's own sources."""
    flags = [*COMMON, *WARNINGS]
    if sanitize:
        flags += ["-g", "-O1", "-fno-omit-frame-pointer", f"-fsanitize={','.join(sanitize)}"]
        if "undefined" in sanitize:
            flags.append("-fno-sanitize-recover=undefined")
    else:
        flags += ["-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    if werror and not sanitize:  # instrumented code makes gcc see what is not there
        flags.append("-Werror")
    return flags + shlex.split(os.environ.get("CFLAGS", ""))


def link_flags_for(sanitize: Sequence[str]) -> list[str]:
    """Link flags of whatever is made of objects compiled with the same sanitizers."""
    flags = list(LINK)
    if sanitize:
        flags.append(f"-fsanitize={','.join(sanitize)}")
    return flags + shlex.split(os.environ.get("LDFLAGS", ""))


def run(command: Sequence[str | Path]) -> str:
    """Runs a tool and answers its output; BuildError carries what it said."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(words)}\n{done.stdout}{done.stderr}".rstrip())
    if done.stderr:
        sys.stderr.write(done.stderr)
    return done.stdout


def pkg_config(option: str, *libraries: str) -> list[str]:
    """`pkg-config OPTION LIBRARIES` as words."""
    return shlex.split(run(["pkg-config", option, *libraries]))


def missing_packages() -> dict[str, str]:
    """What the build needs and this system lacks: its name -> its Debian package."""
    missing = {
        tool: package
        for tool, package in (
            (compiler()[0], "gcc"),
            ("pkg-config", "pkg-config"),
            ("protoc-c", "protobuf-c-compiler"),
        )
        if shutil.which(tool) is None
    }
    for library, package in LIBRARIES.items():
        if "pkg-config" in missing or subprocess.call(["pkg-config", "--exists", library]):
            missing[library] = package
    return missing


def compiler() -> list[str]:
    """The C compiler: $CC, else gcc, else cc."""
    named = shlex.split(os.environ.get("CC", ""))
    return named or ["gcc" if shutil.which("gcc") else "cc"]


def room_sources(*rooms: str) -> list[Path]:
    """All C files of the rooms named, in a fixed order."""
    return [path for room in rooms for path in sorted((CSRC / room).glob("*.c"))]


def keeper_sources() -> list[Path]:
    """The keeper is base, policy and sandbox besides its own room: libc only."""
    folder = CSRC / "security"
    groups = [folder / f"cgroup{part}.c" for part in ("", "_v1", "_v2")]
    security = [*folder.glob("sandbox*.c"), *groups, folder / "policy.c"]
    mine = sorted(path for path in security if path.name != "sandbox_seccomp.c")
    return [*room_sources("base", "keeper"), *mine]


def worker_sources() -> list[Path]:
    """The worker's rooms, and the parts of the sandbox that it closes itself."""
    parts = ("box", "filter", "landlock", "processes")
    mine = [CSRC / "security" / f"sandbox_{part}.c" for part in parts]
    return [*room_sources(*WORKER_ROOMS), *mine]


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """Lends a name to write to, and moves the finished file into place.

    Whoever reads or runs the old file keeps it whole; when the block fails nothing is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


class Builder:
    """Objects and links below one folder. Any thread; several processes may share the folder."""

    def __init__(self, folder: Path, *, cc: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.cc = list(cc) if cc else compiler()
        self.generated = folder / "proto"

    def generate(self) -> Path:
        """Makes pyproc.pb-c.[ch] from the written protocol; answers the C file."""
        source = self.generated / "pyproc.pb-c.c"
        if not _is_fresh(source, [PROTO]):
            with tempfile.TemporaryDirectory() as scratch:
                run(["protoc-c", f"--c_out={scratch}", f"--proto_path={PROTO.parent}", PROTO])
                for made in sorted(Path(scratch).iterdir(), reverse=True):  # the header first
                    with placed(self.generated / made.name) as place:
                        shutil.copyfile(made, place)
        return source

    def objects(self, sources: Iterable[Path], flags: Sequence[str]) -> list[Path]:
        """Compiles what is stale, on all processors, and answers the objects in order."""
        generated = self.generate()
        include = [f"-I{CSRC}", f"-I{self.generated}", *pkg_config("--cflags", *LIBRARIES)]
        command = [*self.cc, *flags, *include]
        quiet = [word for word in command if not word.startswith("-W")] + ["-w"]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(
                threads.map(
                    lambda path: self._compile(path, quiet if path == generated else command),
                    sources,
                )
            )

    def link(self, target: Path, objects: Sequence[Path], flags: Sequence[str]) -> Path:
        """Links when an object or the command changed; `flags` follow the objects."""
        command = [*self.cc, *(str(path) for path in objects), *flags]
        stamp = self.folder / "links" / f"{target.name}.{_digest([str(target)])}.cmd"
        text = shlex.join(command)
        if _is_fresh(target, objects) and stamp.exists() and stamp.read_text() == text:
            return target
        with placed(target) as scratch:
            run([*command, "-o", scratch])
            scratch.chmod(0o755)
        with placed(stamp) as scratch:
            scratch.write_text(text)
        return target

    def archive(self, target: Path, objects: Sequence[Path]) -> Path:
        """Gathers objects, of which a link takes only those it needs."""
        listed = target.with_suffix(".list")
        text = "\n".join(str(path) for path in objects)
        if _is_fresh(target, objects) and listed.exists() and listed.read_text() == text:
            return target
        with placed(target) as scratch:
            run(["ar", "rcs", scratch, *objects])
        with placed(listed) as scratch:
            scratch.write_text(text)
        return target

    def export_only(self, name: str, *symbols: str) -> str:
        """A link flag that hides every symbol but those that match."""
        script = self.folder / "links" / f"{name}.map"
        text = "{\n" + "".join(f"  global: {symbol};\n" for symbol in symbols) + "  local: *;\n};\n"
        if not script.exists() or script.read_text() != text:
            with placed(script) as scratch:
                scratch.write_text(text)
        return f"-Wl,--version-script={script}"

    def _compile(self, source: Path, command: Sequence[str]) -> Path:
        made_here = source.is_relative_to(self.folder)
        place = source.relative_to(self.folder if made_here else ROOT)
        target = self.folder / _digest(command) / place.with_suffix(".o")
        depends = target.with_suffix(".d")
        if _is_fresh(target, _read_depends(depends)):
            return target
        with placed(target) as scratch, placed(depends) as listed:
            run([*command, "-MD", "-MF", listed, "-c", source, "-o", scratch])
        return target


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def _is_fresh(target: Path, inputs: Iterable[Path] | None) -> bool:
    """False when anything is missing, or changed after `target` was made."""
    if inputs is None:
        return False
    try:
        made = target.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns < made for path in inputs)
    except OSError:
        return False


def _read_depends(path: Path) -> list[Path] | None:
    """The files that a compilation read, from the compiler's own list; None when unknown."""
    try:
        text = path.read_text()
    except OSError:
        return None
    _, _, names = text.replace("\\\n", " ").partition(": ")
    return [Path(name) for name in shlex.split(names)]
