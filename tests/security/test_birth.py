"""What a worker is born with: nothing of the host's but what was named."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproc import Limits, Pool, errors

APP = Path(__file__).parent / "apps" / "prober.py"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "GITHUB_TOKEN": "a-secret",
    "DATABASE_URL": "postgres://user:a-secret@host/db",
    "SSH_AUTH_SOCK": "/tmp/agent-a-secret",
    "PYTHONSTARTUP": "/tmp/a-secret.py",
    "PYTHONINSPECT": "1",
    "PYTHONBREAKPOINT": "a-secret.set_trace",
    "LD_AUDIT": "/tmp/a-secret.so",
    "BASH_ENV": "/tmp/a-secret.sh",
    "HTTP_PROXY": "http://user:a-secret@proxy",
    "XDG_RUNTIME_DIR": "/run/a-secret",
    "PATHOLOGY": "a-secret",
    "LCX_NOT_A_LOCALE": "a-secret",
}


@pytest.fixture
def worker() -> Iterator[Pool]:
    with Pool(APP, workers=1, sandbox="none") as pool:
        yield pool


def test_an_open_descriptor_of_the_host_is_not_inherited_even_when_it_is_inheritable() -> None:
    with tempfile.TemporaryFile() as secret, socket.socket() as connection:
        kept = [os.dup2(secret.fileno(), n) for n in (50, 150, 250, 700)]
        try:
            for fd in (secret.fileno(), connection.fileno(), *kept):
                os.set_inheritable(fd, True)
            link = os.readlink(f"/proc/self/fd/{secret.fileno()}")
            with Pool(APP, workers=1, sandbox="none") as pool:
                seen = pool.call("descriptors")
        finally:
            for fd in kept:
                os.close(fd)
    assert link not in seen.values()
    assert not set(kept) & {number for number in seen if number not in (200, 201, 202)}
    assert len(seen) <= 8, seen


def test_a_worker_has_its_own_channels_only(worker: Pool) -> None:
    kinds = sorted(
        target.partition(":")[0]
        for number, target in worker.call("descriptors").items()
        if not target.startswith("/proc/")
    )
    assert kinds.count("socket") == 2
    assert kinds.count("pipe") == 2
    assert [kind for kind in kinds if kind not in ("socket", "pipe")] == ["/dev/null", "/memfd"]


def test_what_a_worker_starts_gets_none_of_the_channels(worker: Pool) -> None:
    assert worker.call("inheritable_descriptors") == []
    seen = worker.call(
        "execs",
        "import os; print(*map(os.readlink, "
        "['/proc/self/fd/' + n for n in os.listdir('/proc/self/fd')[:-1]]))",
    )
    assert "socket" not in seen
    assert "pyproc" not in seen


def test_secrets_in_the_hosts_environment_reach_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with Pool(APP, workers=1, sandbox="none") as pool:
        assert not SECRETS.keys() & pool.call("environment").keys()
        assert "a-secret" not in pool.call("birth_environment")
        assert "a-secret" not in pool.call("execs", "import os; print(os.environ)")


@pytest.mark.no_sanitizer("the runtime is passed on by LD_PRELOAD and PYTHONPATH")
def test_what_changes_an_interpreter_from_outside_reaches_no_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('sitecustomize ran')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with Pool(APP, workers=1, sandbox="none") as pool:
        names = pool.call("environment").keys()
        assert not [name for name in names if name.startswith(("PYTHON", "LD_PRELOAD"))]
        assert pool.call("add", 1, 2) == 3


def test_variables_given_by_name_are_added_and_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    with Pool(APP, workers=1, env={"API_MODE": "test", "TZ": "UTC"}, sandbox="none") as pool:
        seen = pool.call("environment")
    assert seen["API_MODE"] == "test"
    assert seen["TZ"] == "UTC"


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"])
def test_what_programs_need_to_find_themselves_is_passed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    value = os.environ.get(name) or ("C.UTF-8" if name.startswith("L") else "/tmp")
    monkeypatch.setenv(name, value)
    with Pool(APP, workers=1, sandbox="none") as pool:
        assert pool.call("environment")[name] == value


def status(pool: Pool, field: str) -> str:
    """A field of the worker's status, as the kernel tells the host."""
    text = Path(f"/proc/{pool.call('pid')}/status").read_text()
    return next(
        line.split(None, 1)[1].strip() for line in text.splitlines() if line.startswith(field + ":")
    )


def test_a_worker_can_gain_no_privileges(worker: Pool) -> None:
    assert status(worker, "NoNewPrivs") == "1"
    assert "NoNewPrivs:\t1" in worker.call("execs", "print(open('/proc/self/status').read())")


def test_a_worker_leads_a_session_of_its_own(worker: Pool) -> None:
    pid = worker.call("pid")
    assert os.getsid(pid) == pid != os.getsid(0)
    assert os.getpgid(pid) == pid


def test_a_workers_parent_is_the_keeper_not_the_host(worker: Pool) -> None:
    assert status(worker, "PPid") == str(worker._core.keeper_pid())


def test_a_worker_writes_files_that_nobody_else_may_read(worker: Pool) -> None:
    assert status(worker, "Umask") == "0077"


def test_a_worker_starts_with_no_signal_blocked_or_ignored() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Pool(APP, workers=1, sandbox="none") as pool:
            blocked, ignored = pool.call("signals")
    finally:
        signal.signal(signal.SIGHUP, old)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert blocked == []
    assert set(ignored) <= {signal.SIGPIPE, signal.SIGXFSZ}  # CPython's own


def test_a_worker_leaves_no_core_dump(worker: Pool) -> None:
    assert worker.call("limit", "RLIMIT_CORE") == (0, 0)
    assert worker.call("raise_limit", "RLIMIT_CORE") != "raised" or os.getuid() == 0


LIMITS = {
    "RLIMIT_CORE": (Limits(core="1MiB"), 2**20),
    "RLIMIT_FSIZE": (Limits(file_size="2MiB"), 2 * 2**20),
    "RLIMIT_NOFILE": (Limits(open_files=300), 300),
    "RLIMIT_STACK": (Limits(stack="4MiB"), 4 * 2**20),
    "RLIMIT_AS": (Limits(address_space="3GiB"), 3 * 2**30),
}


@pytest.mark.no_sanitizer("a limit on address space")
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_holds_soft_and_hard(name: str) -> None:
    limits, value = LIMITS[name]
    with Pool(APP, workers=1, limits=limits, sandbox="none") as pool:
        assert pool.call("limit", name) == (value, value)


@pytest.mark.no_sanitizer("a limit on address space")
def test_memory_beyond_the_limit_is_refused_to_the_function_and_costs_no_worker() -> None:
    with Pool(APP, workers=1, limits=Limits(address_space="1GiB"), sandbox="none") as pool:
        assert pool.call("allocate", 2**20) == 2**20
        with pytest.raises(MemoryError):
            pool.call("allocate", 2 * 2**30)
        assert pool.stats()["workers_died"] == 0


def test_a_file_beyond_the_limit_is_refused_to_the_function(tmp_path: Path) -> None:
    with Pool(APP, workers=1, limits=Limits(file_size="1MiB"), sandbox="none") as pool:
        assert pool.call("write_file", str(tmp_path / "small"), 1000) == 1000
        with pytest.raises(OSError, match="large"):
            pool.call("write_file", str(tmp_path / "big"), 2 * 2**20)
    assert (tmp_path / "big").stat().st_size <= 2**20


def test_descriptors_beyond_the_limit_are_refused_and_the_worker_still_answers() -> None:
    with Pool(APP, workers=1, limits=Limits(open_files=64), sandbox="none") as pool:
        with pytest.raises(OSError, match="open files"):
            pool.call("open_many", 100)
        assert pool.call("add", 1, 2) == 3


def test_nice_is_added_to_the_hosts() -> None:
    with Pool(APP, workers=1, limits=Limits(nice=5), sandbox="none") as pool:
        assert pool.call("nice") == min(19, os.nice(0) + 5)


@pytest.mark.no_sanitizer("the sanitizer's runtime answers crashes itself")
def test_a_crash_writes_no_file(tmp_path: Path) -> None:
    with (
        Pool(APP, workers=1, cwd=tmp_path, sandbox="none") as pool,
        pytest.raises(errors.WorkerCrashed),
    ):
        pool.call("abort")
    assert list(tmp_path.iterdir()) == []
