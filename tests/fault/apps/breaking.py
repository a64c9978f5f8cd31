"""Functions that break their worker in every way, and a few that do not."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import wire

from pyproc import App

app = App()


def _find() -> tuple[int, int, int]:
    """The worker's own descriptors: call channel, event channel, crash file."""
    found: dict[str, list[int]] = {}
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        found.setdefault(target.partition(":")[0 if target.startswith("socket") else 2], []).append(
            number
        )
    crash = next(fds[0] for name, fds in found.items() if "pyproc-crash" in name)
    return found["socket"][0], found["socket"][1], crash


CALL, EVENT, CRASH = _find()


def _mapped(name: str) -> tuple[int, int]:
    """Where a page that is shared with the host lies, and its size."""
    with open("/proc/self/maps") as maps:
        line = next(line for line in maps if f"memfd:pyproc-{name}" in line)
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    return begin, end - begin


@app.expose
def add(a: int, b: int = 0) -> int:
    return a + b


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.expose
def tell(path: str, seconds: float) -> None:
    """Says that it runs, by a file, and sleeps."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


@app.expose
def tell_item(item: tuple[str, int]) -> None:
    tell(item[0], 300)


@app.expose
def mark(path: str, item: int, seconds: float = 0.0) -> int:
    """Appends one byte a run, so that runs can be counted."""
    with open(path, "ab") as file:
        file.write(item.to_bytes(4, "big"))
    time.sleep(seconds)
    return item


@app.expose
def size(data: bytes) -> int:
    return len(data)


@app.expose
def blob(size: int) -> bytes:
    return bytes(size)


# ---- deaths ----


def _segfault() -> None:
    ctypes.string_at(0)


def _overflow() -> None:
    """Recursion in C until the stack is used up."""
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    libc = ctypes.CDLL(None)
    numbers = (ctypes.c_int * 2)(2, 1)

    sys.setrecursionlimit(10**9)

    def deeper(_a: int, _b: int) -> int:
        libc.qsort(numbers, 2, 4, compare(deeper))
        return 0

    deeper(0, 0)


@app.expose
def die(how: str, number: int = 0) -> None:
    print("last words", file=sys.stderr, flush=True)
    if how == "segfault":
        _segfault()
    elif how == "abort":
        os.abort()
    elif how == "overflow":
        _overflow()
    elif how == "signal":
        os.kill(os.getpid(), number)
    elif how == "_exit":
        os._exit(number)
    elif how == "exit in C":
        ctypes.CDLL(None).exit(number)
    elif how == "close":
        os.close(CALL)
    elif how == "close all":
        os.closerange(0, 256)
    elif how == "half an answer":
        os.write(CALL, wire.frame(wire.RESULT, _result(bytes(100)))[:-50])
        os._exit(number)
    time.sleep(60)


@app.expose
def leave(code: int) -> None:
    sys.exit(code)


@app.expose
def stubborn(how: str) -> None:
    """Does not end by anything but SIGKILL."""
    signal.pthread_sigmask(signal.SIG_SETMASK, range(1, signal.NSIG))
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "loop in C":
        with open("/dev/zero", "rb") as file:
            file.read(2**62)  # (MemoryError is no end: the loop below is)
    while True:
        pass


@app.expose
def spin_in_c() -> None:
    """One call into C that never gives the GIL back."""
    ctypes.PyDLL(None).pause()


@app.expose
def orphan(path: str, session: bool, times: int = 1) -> list[int]:
    """Leaves processes behind that hold every descriptor of the worker."""
    pids = []
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(300)"],
            close_fds=False,
            pass_fds=(),
            start_new_session=session,
        )
        pids.append(process.pid)
    with open(path, "w") as file:
        file.write(" ".join(map(str, pids)))
    return pids


@app.expose
def orphan_and_die(path: str, session: bool) -> None:
    for fd in (CALL, EVENT):
        os.set_inheritable(fd, True)
    orphan(path, session)
    _segfault()


@app.expose
def daemonize(path: str) -> None:
    """Forks twice into a session of its own, as daemons do."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(path + ".new", path)
            time.sleep(300)
        os._exit(0)
    while not os.path.exists(path):
        time.sleep(0.001)


@app.expose
def kill_parent(number: int) -> None:
    os.kill(os.getppid(), number)
    time.sleep(60)


# ---- hostility ----


def _call_id() -> int:
    return int(ctypes.c_uint64.from_address(_mapped("control")[0]).value)


def _result(payload: bytes = b"\xc0", codec: int = 1, shift: int = 0) -> dict[int, object]:
    return {1: wire.Fixed(_call_id() + shift), 2: payload, 3: codec}


def _failure(node: dict[int, object], kind: int = 1) -> bytes:
    return wire.frame(wire.FAILURE, {1: wire.Fixed(_call_id()), 2: kind, 3: [node]})


_NODE: dict[int, object] = {3: "ValueError", 4: "words"}


def _garbage(kind: str) -> bytes:
    """Bytes that break one rule."""
    result = wire.frame
    makers = {
        "noise": lambda: b"\xde\xad\xbe\xef" * 64,
        "length above the limit": lambda: (16 * 2**20 + 1).to_bytes(4, "big") + b"\x22",
        "length of 4 GiB": lambda: b"\xff\xff\xff\xff" + bytes(64),
        "empty frame": lambda: bytes(4),
        "json": lambda: b"\0\0\0\x02{}",
        "python frame": lambda: b"PY\0\1" + bytes(16),
        "no envelope field": lambda: b"\0\0\0\x03\x98\x06\x01",
        "two envelope fields": lambda: (lambda one: (2 * len(one)).to_bytes(4, "big") + one + one)(
            result(wire.RESULT, _result())[4:]
        ),
        "field cut short": lambda: b"\0\0\0\x03\x22\x50\x01",
        "answer to a later call": lambda: result(wire.RESULT, _result(shift=1)),
        "answer to an older call": lambda: result(wire.RESULT, _result(shift=-1)),
        "answer to call zero": lambda: result(wire.RESULT, {2: b"\xc0", 3: 1}),
        "codec pickle": lambda: result(wire.RESULT, _result(b"\x80\x04N.", 3)),
        "codec unknown": lambda: result(wire.RESULT, _result(codec=77)),
        "codec missing": lambda: result(wire.RESULT, _result(codec=0)),
        "failure of unknown kind": lambda: _failure(_NODE, 99),
        "failure of no kind": lambda: _failure(_NODE, 0),
        "failure to start": lambda: _failure(_NODE, 6),
        "failure without nodes": lambda: result(wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1}),
        "failure with bad utf-8": lambda: _failure({3: b"\xff\xfe", 4: "x"}),
        "failure with its own parent": lambda: result(
            wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1, 3: [_NODE, {1: 1, 2: 7, 3: "E"}]}
        ),
        "failure of unknown relation": lambda: result(
            wire.FAILURE, {1: wire.Fixed(_call_id()), 2: 1, 3: [_NODE, {1: 9, 3: "E"}]}
        ),
        "unasked part": lambda: result(wire.PART, {1: wire.Fixed(_call_id()), 3: 1, 4: b"\xc0"}),
        "unasked return": lambda: result(wire.RETURNED, {1: wire.Fixed(_call_id())}),
        "unasked pong": lambda: result(wire.PONG, {1: 5}),
        "a host's call": lambda: result(
            wire.CALL, {1: wire.Fixed(_call_id()), 2: "add", 3: b"\x90", 4: 1}
        ),
        "a host's hello": lambda: result(wire.HELLO, {1: 1}),
        "goodbye": lambda: result(wire.GOODBYE, {}),
        "log on the call channel": lambda: result(wire.LOG, {1: 1, 5: "x"}),
        "second hello": lambda: result(wire.HELLO_REPLY, {1: 1}),
    }
    return makers[kind]()


def _send_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@app.expose
def send(kind: str) -> None:
    _send_all(CALL, _garbage(kind))
    time.sleep(60)


@app.expose
def send_if(item: tuple[int, str]) -> int:
    number, kind = item
    if number == 3:
        send(kind)
    return number


@app.expose
def send_event(data: bytes) -> None:
    _send_all(EVENT, data)
    time.sleep(60)


@app.expose
def answer_twice() -> str:
    _send_all(CALL, wire.frame(wire.RESULT, _result(b"\xa5first")) * 2)
    return "second"


@app.expose
def answer(payload: bytes, codec: int) -> None:
    """An answer of any bytes, and the end."""
    _send_all(CALL, wire.frame(wire.RESULT, _result(payload, codec)))
    os._exit(0)


@app.expose
def send_descriptors(times: int) -> str:
    """Sends descriptors that nobody asked for, each with a byte of an answer."""
    data = wire.frame(wire.RESULT, _result(b"\xa4done"))
    with socket.socket(fileno=os.dup(CALL)) as channel, open("/dev/null") as file:
        for byte in data[:times]:
            socket.send_fds(channel, [bytes([byte])], [file.fileno()] * 200)
        channel.sendall(data[times:])
    time.sleep(60)
    return ""


@app.expose
def flood(kind: str) -> None:
    """Writes for ever."""
    if kind == "parts":
        head = {3: 1, 4: b"\xc4\xff" + bytes(255)}
        while True:
            _send_all(CALL, wire.frame(wire.PART, {1: wire.Fixed(_call_id()), **head}))
    fd, data = {
        "zeros": (CALL, bytes(65536)),
        "one long frame": (CALL, (8 * 2**20).to_bytes(4, "big") + b"\x22" * (8 * 2**20)),
        "events": (EVENT, bytes(65536)),
        "stdout": (1, b"x" * 65536),
        "lines": (1, b"x\n" * 32768),
        "stderr": (2, b"\xff" * 65536),
    }[kind]
    while True:
        _send_all(fd, data)


@app.expose
def log_flood(times: int) -> int:
    """Records by the raw event channel, as fast as it goes."""
    record = wire.frame(wire.LOG, {1: 1, 3: 50, 4: "flood", 5: "y" * 60000})
    for _ in range(times):
        _send_all(EVENT, record)
    return times


@app.expose
def write_control(how: str) -> str:
    """Tries to get at the page that only the host may write."""
    at, size = _mapped("control")
    libc = ctypes.CDLL(None, use_errno=True)
    if how == "mprotect":
        refused = libc.mprotect(ctypes.c_void_p(at), size, mmap.PROT_READ | mmap.PROT_WRITE) != 0
        return os.strerror(ctypes.get_errno()) if refused else "writable"
    try:
        file = os.open(f"/proc/self/map_files/{at:x}-{at + size:x}", os.O_RDWR)
        try:
            mmap.mmap(file, size).close()
            return "writable"
        finally:
            os.close(file)
    except OSError as error:
        return os.strerror(error.errno or 0)


@app.expose
def shrink(name: str) -> str:
    """Tries to make a shared page smaller, so that the host's next look at it would fault."""
    at, size = _mapped(name)
    try:
        file = os.open(f"/proc/self/map_files/{at:x}-{at + size:x}", os.O_RDWR)
        try:
            os.ftruncate(file, 0)
            return "smaller"
        finally:
            os.close(file)
    except OSError as error:
        return os.strerror(error.errno or 0)


def _scribble() -> None:
    at, size = _mapped("status")
    ctypes.memset(at, 0xFF, size)


@app.expose
def scribble(then: str) -> None:
    _scribble()
    die(then)


@app.expose
def scribble_item(item: int) -> int:
    if item == 3:
        _scribble()
        os._exit(9)
    return item


@app.expose
def claim_items(item: int) -> int:
    """In a chunk: says that a million items are answered, and dies."""
    if item == 3:
        at, _ = _mapped("status")
        ctypes.memmove(at + 20, struct.pack("<IQ", 1_000_000, 2**40), 12)
        os._exit(9)
    return item


@app.expose
def write_crash_file(data: bytes) -> None:
    os.pwrite(CRASH, data, 0)
    os._exit(3)


@app.expose
def talk_later(seconds: float) -> str:
    """Answers, and sends garbage when nobody asks any more."""

    def later() -> None:
        time.sleep(seconds)
        _send_all(CALL, _garbage("noise"))

    threading.Thread(target=later, daemon=True).start()
    return "answered"


# ---- what a worker sees ----


@app.expose
def environment() -> dict[str, str]:
    return dict(os.environ)


@app.expose
def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


@app.expose
def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


@app.expose
def execs(code: str) -> str:
    """What a fresh program that the worker starts prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout
