"""The pytest plugin: `@pytest.mark.isolated`, and fixtures for pools and for faults in workers.

pytest loads this file in every run once pyproc is installed, so it imports nothing of pyproc until
a test asks for it. Inside an isolated item's worker it only keeps the fixtures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyproc.pool import Pool
    from pyproc.testing.faults import Faults
    from pyproc.testing.isolation import Isolation

_KEY: pytest.StashKey[Isolation] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("pyproc", "pyproc: isolated tests and pools of workers")
    group.addoption(
        "--pyproc-isolated",
        choices=("on", "off"),
        default="on",
        help="off: tests marked isolated run in this process, for a debugger",
    )
    group.addoption(
        "--pyproc-leaks",
        choices=("off", "warn", "error"),
        default="off",
        help="what an isolated test is told that leaves descriptors, processes, threads or memory "
        "behind in its worker",
    )
    parser.addini("pyproc_target", "target of pyproc_pool, as pyproc.Pool takes it", default="")
    parser.addini("pyproc_leaks_rss", "private memory that one test may keep", default="16MiB")
    parser.addini(
        "pyproc_start_timeout",
        "seconds that the session in a worker may take to start",
        default="60",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the markers known."""
    config.addinivalue_line(
        "markers",
        "isolated(timeout=None, memory=None, sandbox=None, leaks=None): run the whole test in a "
        "worker process of pyproc; a crash, a timeout or too much memory fails this test only. "
        "timeout: seconds. memory: bytes or text like '256MiB'. sandbox: as pyproc.Pool takes it. "
        "leaks='off': not looked for in this test.",
    )
    config.addinivalue_line(
        "markers",
        "pyproc(target, **options): what pyproc_pool opens for this test, as pyproc.Pool takes it",
    )


def _is_inside() -> bool:
    """True in a worker of a pool: there an item is run as usual."""
    registry = sys.modules.get("pyproc.worker.registry")
    return registry is not None and bool(registry.serving)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Hands isolated items to their worker."""
    if item.get_closest_marker("isolated") is None or _is_inside():
        return None
    if item.config.getoption("pyproc_isolated") == "off":
        return None
    isolation = item.config.stash.get(_KEY, None)
    if isolation is None:
        from pyproc.testing.isolation import Isolation

        isolation = item.config.stash[_KEY] = Isolation(item.config)
    isolation.run(item, nextitem)
    return True


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Ends what the items' workers still hold, and takes in what they measured, before plugins
    around this loop sum up."""
    from_coverage = _measure(session)
    try:
        result = yield
        isolation = session.config.stash.get(_KEY, None)
        if isolation is not None:
            isolation.finish(session)
        return result
    finally:
        isolation = session.config.stash.get(_KEY, None)
        if isolation is not None:
            isolation.abandon()
        if from_coverage is not None:
            from_coverage.close()


def _measure(session: pytest.Session) -> Any:
    """Has workers measure their lines when this process does."""
    if "coverage" not in sys.modules or _is_inside() or session.config.option.collectonly:
        return None
    from pyproc.testing import cover

    return cover.start_on_host()


@pytest.fixture
def pyproc_pool_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pool]]:
    """Opens pools that are closed when the test ends: `pyproc_pool_factory(target, **options)`.

    Options are those of `pyproc.Pool`; workers defaults to 2. Faults of `pyproc_faults` reach them.
    """
    from pyproc.pool import Pool

    if "pyproc_faults" in request.fixturenames:
        request.getfixturevalue("pyproc_faults")  # before any worker starts
    pools: list[Pool] = []

    def open_pool(target: Any, **options: Any) -> Pool:
        if "min_workers" not in options and "max_workers" not in options:
            options.setdefault("workers", 2)
        pools.append(Pool(target, **options))
        return pools[-1]

    yield open_pool
    for pool in reversed(pools):
        pool.close(5)


@pytest.fixture
def pyproc_pool(request: pytest.FixtureRequest, pyproc_pool_factory: Callable[..., Pool]) -> Pool:
    """A pool for this test: of `@pytest.mark.pyproc(target, **options)`, else of the ini option
    `pyproc_target`. Closed when the test ends."""
    marker = request.node.get_closest_marker("pyproc")
    target: Any = request.config.getini("pyproc_target")
    options: dict[str, Any] = {}
    if marker is not None:
        options = dict(marker.kwargs)
        target = options.pop("target", None) or (marker.args[0] if marker.args else target)
    if not target:
        raise pytest.UsageError(
            "pyproc_pool needs to know what its workers run: set pyproc_target = module:app in the "
            "ini file, or mark the test with @pytest.mark.pyproc('module:app')"
        )
    return pyproc_pool_factory(target, **options)


@pytest.fixture
def pyproc_faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """Makes calls go wrong in the workers of every pool that is opened during this test:
    `pyproc_faults.crash("name", call=2)`; see `pyproc.testing.faults.Faults`."""
    from pyproc.testing.faults import Faults

    with Faults() as faults:
        yield faults
