"""A forked copy of the host: its pool is closed, the parent's goes on, nothing hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Host

from pyproc import Pool

APP = Path(__file__).parent / "apps" / "breaking.py"
DEADLINE = 60.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts host programs, and ends them."""
    hosts: list[Host] = []

    def begin(source: str, **env: str) -> Host:
        hosts.append(Host(tmp_path, source, APP, **env))
        return hosts[-1]

    yield begin
    for host in reversed(hosts):
        host.__exit__(None, None, None)


#: Each line is tried on a copy in a forked child, which says what became of it.
EACH_METHOD = {
    "call": "pool.call('add', 1, 2)",
    "submit": "pool.submit('add', 1, 2)",
    "options": "pool.options(timeout=5).call('add', 1, 2)",
    "map": "list(pool.map('add', [1, 2]))",
    "acall": "asyncio.run(pool.acall('add', 1, 2))",
    "enter": "pool.__enter__().call('add', 1, 2)",
}


@pytest.mark.parametrize("method", EACH_METHOD)
@pytest.mark.parametrize("output", ["forward", "drop"])
def test_a_forked_copy_of_a_pool_is_closed(
    start: Callable[..., Host], method: str, output: str
) -> None:
    host = start(
        f"""
        import asyncio
        pool = Pool(sys.argv[1], workers=1, output={output!r}, sandbox="none")
        pool.call('add', 1, 2)
        child = os.fork()
        if child == 0:
            try:
                say('child:', {EACH_METHOD[method]})
            except pyproc.PoolClosed as error:
                say('child: closed')
            os._exit(0)
        os.waitpid(child, 0)
        say('parent:', pool.call('add', 1, 2), pool.submit('add', 2, 2).result(30))
        pool.close()
        say('over')
        """
    )
    assert host.expect("child:") == "child: closed"
    assert host.expect("parent:") == "parent: 3 4"
    host.expect("over")
    assert host.wait() == 0
    assert host.left() == set()


def test_what_only_looks_or_ends_is_harmless_in_a_forked_copy(start: Callable[..., Host]) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=2, sandbox="none")
        future = pool.submit('nap', 1.0)
        child = os.fork()
        if child == 0:
            repr(pool), pool.stats(), pool.workers(), pool.functions()
            say('cancel', future.cancel(), future.kill())
            pool.close(); pool.close(0)
            del pool
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        say('parent:', future.result(30))
        pool.close()
        """
    )
    host.expect("cancel False False")
    host.expect("status 0")
    host.expect("parent: 1.0")
    assert host.wait() == 0
    assert host.left() == set()


def test_a_forked_child_that_ends_normally_neither_warns_nor_ends_the_pool(
    start: Callable[..., Host],
) -> None:
    host = start(
        """
        warnings.simplefilter('always')
        pool = Pool(sys.argv[1], workers=1, sandbox="none")
        child = os.fork()
        if child == 0:
            sys.exit(0)
        say('status', os.waitpid(child, 0)[1])
        say('parent:', pool.call('add', 1, 2))
        pool.close()
        """
    )
    host.expect("status 0")
    host.expect("parent: 3")
    assert host.wait() == 0
    assert host.errors() == ""


def test_a_forked_child_may_open_a_pool_of_its_own(start: Callable[..., Host]) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=1, sandbox="none")
        child = os.fork()
        if child == 0:
            with Pool(sys.argv[1], workers=1, sandbox="none") as own:
                say('child:', own.call('add', 1, 2), own.submit('add', 2, 2).result(30))
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        pool.close()
        """
    )
    host.expect("child: 3 4")
    host.expect("status 0")
    assert host.wait() == 0
    assert host.left() == set()


def test_a_forked_child_that_outlives_the_host_keeps_no_worker_alive(
    start: Callable[..., Host],
) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=2, sandbox="none")
        pids = [pool.submit('pid').result(30), pool._core.keeper_pid()]
        child = os.fork()
        if child == 0:
            time.sleep(300)
            os._exit(0)
        say('child', child)
        time.sleep(300)
        """
    )
    child = int(host.expect("child").split()[1])
    host.signal(signal.SIGKILL)
    host.wait()
    limit = time.monotonic() + 5
    while host.family() != {child}:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_forked_child_holds_no_channel_of_the_parents_workers(
    start: Callable[..., Host],
) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=3, output='drop', sandbox="none")
        [f.result(30) for f in [pool.submit('nap', 0.2) for _ in range(3)]]
        def sockets():
            count = 0
            for fd in os.listdir('/proc/self/fd'):
                try:
                    count += os.readlink('/proc/self/fd/' + fd).startswith('socket')
                except OSError:
                    pass
            return count
        own = sockets()
        child = os.fork()
        if child == 0:
            say('child', sockets() , 'of', own)
            os._exit(0)
        os.waitpid(child, 0)
        pool.close()
        """
    )
    words = host.expect("child").split()
    assert int(words[3]) > 3
    assert int(words[1]) == 0
    assert host.wait() == 0


def test_forks_under_load_from_many_threads_leave_no_child_hung_and_no_call_lost(
    start: Callable[..., Host],
) -> None:
    host = start(
        """
        warnings.simplefilter('ignore')
        import multiprocessing
        context = multiprocessing.get_context('fork')
        pool = Pool(sys.argv[1], workers=2, sandbox="none")
        over = threading.Event()
        counts = []
        def work():
            n = 0
            while not over.is_set():
                assert pool.call('add', n, 1) == n + 1
                assert pool.submit('add', n, 1).result(30) == n + 1
                n += 1
            counts.append(n)
        def in_child():
            try:
                pool.call('add', 1, 2)
            except pyproc.PoolClosed:
                pass
            else:
                os._exit(3)
            try:
                pool.submit('add', 1, 2)
            except pyproc.PoolClosed:
                os._exit(0)
            os._exit(4)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for _ in range(60):
            child = context.Process(target=in_child)
            child.start()
            child.join(20)
            assert child.exitcode == 0, child.exitcode
        over.set()
        for thread in threads: thread.join()
        pool.close()
        say('done', len(counts), min(counts) > 0)
        """
    )
    host.expect("done 4 True", 120)
    assert host.wait() == 0
    assert host.left() == set()


def test_a_server_that_opens_its_pool_before_it_forks_gets_clear_errors_in_its_workers(
    start: Callable[..., Host],
) -> None:
    """As gunicorn --preload: the master imports the application, then forks and never execs."""
    host = start(
        """
        import socket
        pool = Pool(sys.argv[1], workers=1, sandbox="none")      # at import of the application
        listener = socket.create_server(('127.0.0.1', 0))
        def serve():
            own = None
            while True:
                connection, _ = listener.accept()
                with connection:
                    try:
                        answer = pool.call('add', 1, 2)
                    except pyproc.PoolClosed:
                        own = own or Pool(sys.argv[1], workers=1, sandbox="none")
                        answer = own.call('add', 1, 2)
                    connection.sendall(f'{os.getpid()} {answer}'.encode())
        children = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                try:
                    serve()
                finally:
                    sys.stdout.flush()
            children.append(child)
        for _ in range(20):
            with socket.create_connection(listener.getsockname()) as client:
                assert client.makefile().read().endswith(' 3')
        for child in children:
            os.kill(child, signal.SIGTERM)
        say('children', [os.waitpid(child, 0)[1] for child in children])
        say('master', pool.call('add', 1, 2))
        pool.close()
        """
    )
    host.expect("children [0, 0]")
    host.expect("master 3")
    assert host.wait() == 0
    assert host.left() == set()


def test_a_subprocess_of_the_host_inherits_nothing_of_the_pool() -> None:
    import subprocess

    with Pool(APP, workers=2, output="drop", sandbox="none") as pool:
        pool.call("add", 1, 2)
        seen = subprocess.run(
            ["ls", "-l", "/proc/self/fd"],
            capture_output=True,
            text=True,
            check=True,
            close_fds=False,
            timeout=DEADLINE,
        ).stdout
    assert "socket:" not in seen
    assert "memfd:" not in seen
    assert "pidfd" not in seen
    assert "eventpoll" not in seen
