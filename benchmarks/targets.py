"""The figures to reach, as data: what is divided by what, and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measurements.deadline import FUNCTIONS
from benchmarks.measurements.idle import FEW, workers_variant
from benchmarks.measurements.latency import PINNED
from benchmarks.measurements.mapping import CASES
from benchmarks.measurements.start import NEEDS
from benchmarks.model import Key, Settings
from benchmarks.stats import Results

US = "pyproc"
FLOOR = "C socket"
EXECUTOR = "ProcessPoolExecutor"
MP_POOL = "multiprocessing.Pool"


@dataclass(frozen=True)
class Target:
    """`measured`, divided by `reference` where there is one, is at most or at least `limit`."""

    text: str
    measured: Key
    reference: Key | None
    limit: float
    at_least: bool = False
    scale: float = 1.0  # turns a figure without reference into the unit of `limit`
    unit: str = "x"


@dataclass(frozen=True)
class Verdict:
    """What became of a target; value None: not measured in this run."""

    target: Target
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        if self.target.at_least:
            return self.value >= self.target.limit
        return self.value <= self.target.limit


def judge(results: Results, settings: Settings) -> list[Verdict]:
    """One verdict a target, in the order of the issue that set them."""
    verdicts = []
    for target in targets(settings):
        if target.reference is None:
            median = results.median(target.measured)
            value = None if median is None else median * target.scale
        else:
            value = results.ratio(target.measured, target.reference)
        verdicts.append(Verdict(target, value))
    return verdicts


def targets(settings: Settings) -> Sequence[Target]:
    return [
        *_latency(),
        *_burst(settings),
        *(_map(case) for case in CASES),
        *(_start(app) for app in NEEDS),
        *_idle(settings),
        *(_deadline(variant) for variant in FUNCTIONS),
    ]


def _latency() -> Sequence[Target]:
    def key(contender: str, figure: str) -> Key:
        return Key("latency", PINNED, contender, figure)

    return [
        Target("leased call p50 / C socket p50", key(US, "p50"), key(FLOOR, "p50"), 1.5),
        Target("leased call p99 / C socket p99", key(US, "p99"), key(FLOOR, "p99"), 2.5),
        Target(
            "leased call faster than ProcessPoolExecutor",
            key(EXECUTOR, "p50"),
            key(US, "p50"),
            10.0,
            at_least=True,
        ),
    ]


def _burst(settings: Settings) -> Sequence[Target]:
    def key(contender: str) -> Key:
        return Key("burst", f"{settings.burst} no-ops", contender, "rate")

    return [
        Target("submit burst / ProcessPoolExecutor", key(US), key(EXECUTOR), 5.0, at_least=True),
        Target(
            "submit burst / multiprocessing apply_async",
            key(US),
            key(MP_POOL),
            1.5,
            at_least=True,
        ),
    ]


def _map(case: str) -> Target:
    return Target(
        f"map {case} / multiprocessing.Pool.map",
        Key("map", case, US, "rate"),
        Key("map", case, MP_POOL, "rate"),
        1.0,
        at_least=True,
    )


def _start(app: str) -> Target:
    return Target(
        f"start, {app} app / python -I",
        Key("start", app, US, "time"),
        Key("start", app, "python -I", "time"),
        1.5,
    )


def _idle(settings: Settings) -> Sequence[Target]:
    many = workers_variant(settings.idle_workers)
    return [
        Target(
            f"wake-ups of the host, {many} idle",
            Key("idle", many, US, "host"),
            None,
            0.0,
            unit="/s",
        ),
        Target(
            f"call among {many} / among {FEW}",
            Key("idle", many, US, "p50"),
            Key("idle", workers_variant(FEW), US, "p50"),
            1.1,  # "as with 2 workers", with room for noise
        ),
    ]


def _deadline(variant: str) -> Target:
    return Target(
        f"worst deadline, {variant}: late by",
        Key("deadline", variant, US, "max"),
        None,
        20.0,
        scale=1e3,
        unit=" ms",
    )
