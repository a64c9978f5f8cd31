"""Pool(after_fork="reopen"): a forked child's copy opens anew with its first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Host

from pyproc import Pool

APP = Path(__file__).parent / "apps" / "breaking.py"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts host programs, and ends them."""
    hosts: list[Host] = []

    def begin(source: str) -> Host:
        hosts.append(Host(tmp_path, source, APP))
        return hosts[-1]

    yield begin
    for host in reversed(hosts):
        host.__exit__(None, None, None)


#: Each is the first use in a child.
EACH_METHOD = {
    "call": "pool.call('add', 1, 2)",
    "submit": "pool.submit('add', 1, 2).result(60)",
    "options": "fast.call('add', 1, 2)",
    "map": "list(pool.map('plus_one', [2]))[0]",
    "acall": "asyncio.run(pool.acall('add', 1, 2))",
    "stats": "pool.stats()['workers'] and pool.call('add', 1, 2)",
    "large": "len(pool.call('echo', bytes(2**20))) // 2**20 + 2",
}


@pytest.mark.parametrize("method", EACH_METHOD)
def test_the_childs_copy_has_workers_of_its_own(start: Callable[..., Host], method: str) -> None:
    host = start(
        f"""
        import asyncio
        def plus_one(n): return n + 1
        def add(a, b): return a + b
        def echo(data): return data
        pool = Pool([plus_one, add, echo, os.getppid], workers=1, after_fork='reopen',
                    buffer_threshold='64KiB', sandbox="none")
        fast = pool.options(timeout=60)
        keeper = pool.call('getppid')
        child = os.fork()
        if child == 0:
            say('child:', {EACH_METHOD[method]}, pool.call('getppid') != keeper)
            pool.close()
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        say('parent:', pool.call('add', 1, 2), pool.call('getppid') == keeper)
        pool.close()
        """
    )
    assert host.expect("child:") == "child: 3 True"
    host.expect("status 0")
    assert host.expect("parent:") == "parent: 3 True"
    assert host.wait() == 0
    assert host.left() == set()


def test_what_was_under_way_stays_the_parents(start: Callable[..., Host]) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=1, after_fork='reopen', sandbox="none")
        future = pool.submit('nap', 2.0)
        items = pool.map('nap', [2.0])
        child = os.fork()
        if child == 0:
            own = pool.submit('add', 1, 2)
            say('cancel', future.cancel(), future.kill())
            items.close()
            say('child:', own.result(60))
            pool.close()
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        say('parent:', future.result(60), list(items))
        pool.close()
        """
    )
    host.expect("cancel False False")
    host.expect("child: 3")
    host.expect("status 0")
    host.expect("parent: 2.0 [2.0]")
    assert host.wait() == 0
    assert host.left() == set()


def test_a_child_that_never_uses_it_opens_nothing_and_a_childs_child_may(
    start: Callable[..., Host],
) -> None:
    host = start(
        """
        from pathlib import Path
        pool = Pool(sys.argv[1], workers=1, after_fork='reopen', sandbox="none")
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            if grandchild == 0:
                say('answer', pool.call('add', 1, 2))
                sys.exit(0)             # leaves it open: nobody else knows of it
            say('grandchild', os.waitpid(grandchild, 0)[1])
            children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()
            say('opened', children)
            sys.exit(0)
        say('child', os.waitpid(child, 0)[1])
        pool.close()
        """
    )
    host.expect("answer 3")
    host.expect("grandchild 0")
    host.expect("opened []")
    host.expect("child 0")
    assert host.wait() == 0
    assert host.left() == set()
    assert host.errors() == ""


def test_many_threads_of_a_child_open_it_once(start: Callable[..., Host]) -> None:
    host = start(
        """
        from pathlib import Path
        pool = Pool(sys.argv[1], workers=2, after_fork='reopen', sandbox="none")
        child = os.fork()
        if child == 0:
            answers = []
            def work():
                answers.append(pool.call('add', 1, 2))
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            children = ' '.join(p.read_text() for p in Path('/proc/self/task').glob('*/children'))
            say('child:', answers, len(children.split()))
            pool.close()
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        pool.close()
        """
    )
    assert host.expect("child:") == f"child: {[3] * 8} 1"
    host.expect("status 0")
    assert host.wait() == 0


def test_a_copy_that_cannot_open_says_why_each_time(
    start: Callable[..., Host], tmp_path: Path
) -> None:
    host = start(
        f"""
        app = {str(tmp_path / "going.py")!r}
        with open(app, 'w') as file:
            file.write('import pyproc\\n@pyproc.expose\\ndef add(a, b): return a + b\\n')
        pool = Pool(app, workers=1, after_fork='reopen', sandbox="none")
        child = os.fork()
        if child == 0:
            os.rename(app, app + '.away')
            for _ in range(2):
                try:
                    pool.call('add', 1, 2)
                except FileNotFoundError as error:
                    say('child:', 'there is no such file' in str(error))
            os.rename(app + '.away', app)
            say('child:', pool.call('add', 1, 2))
            pool.close()
            os._exit(0)
        say('status', os.waitpid(child, 0)[1])
        pool.close()
        """
    )
    host.expect("child: True")
    host.expect("child: True")
    host.expect("child: 3")
    host.expect("status 0")
    assert host.wait() == 0


def test_a_pool_that_was_closed_before_the_fork_stays_closed(start: Callable[..., Host]) -> None:
    host = start(
        """
        pool = Pool(sys.argv[1], workers=1, after_fork='reopen', sandbox="none")
        pool.close()
        child = os.fork()
        if child == 0:
            try:
                pool.call('add', 1, 2)
            except pyproc.PoolClosed:
                say('child: closed')
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    host.expect("child: closed")
    assert host.wait() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"after_fork": "open"}, "after_fork='open'"),
        ({"after_fork": "reopen", "audit": "audit.log"}, "audit="),
        ({"after_fork": "reopen", "control": "control.sock"}, "control="),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pool(APP, workers=1, **options, sandbox="none")
