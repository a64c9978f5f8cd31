"""The benchmarks' own arithmetic, and a run so small that it only shows that everything fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# At the end: an installed pyproc must stay before the checkout's.
sys.path.append(str(ROOT))

from benchmarks import procfs, report, run  # noqa: E402
from benchmarks.contenders import CONTENDERS, Contender  # noqa: E402
from benchmarks.contenders import floor as floor_contender  # noqa: E402
from benchmarks.contenders.executor import Loky  # noqa: E402
from benchmarks.measurements import MEASUREMENTS  # noqa: E402
from benchmarks.model import Cell, Key, Reading, Settings  # noqa: E402
from benchmarks.rounds import plan, run_one  # noqa: E402
from benchmarks.stats import Results, latency_figures, percentile  # noqa: E402
from benchmarks.targets import EXECUTOR, FLOOR, US, Target, Verdict, judge, targets  # noqa: E402

TINY = Settings(
    rounds=1, seconds=0.05, max_calls=50, warm_calls=5, burst=20, repeats=1, quiet=0.05, workers=2
)
P50_US = Key("latency", "one CPU", US, "p50")
P50_FLOOR = Key("latency", "one CPU", FLOOR, "p50")


def reading(key: Key, number: int, value: float) -> Reading:
    cell = Cell(key.measurement, key.variant, key.contender, number)
    return Reading(cell, {key.figure: value})


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 5), (95, 10), (99, 10), (100, 10), (1, 1), (51, 6)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


@pytest.mark.parametrize(("samples", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_is_refused(samples: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile(samples, percent)


def test_latency_figures_keep_the_tail_apart_from_the_middle() -> None:
    figures = latency_figures([1e-5] * 98 + [1e-3] * 2)
    assert figures == {"p50": 1e-5, "p95": 1e-5, "p99": 1e-3, "calls": 100.0}


def test_a_median_is_taken_over_the_rounds() -> None:
    results = Results([reading(P50_US, number, float(number**2)) for number in range(5)])
    assert results.median(P50_US) == 4.0


def test_a_ratio_pairs_the_figures_of_one_round() -> None:
    # The machine is ten times slower in round 1: the ratio does not see it, medians would.
    ours, floor = [15.0, 150.0, 15.0], [10.0, 100.0, 100.0]
    results = Results(
        [reading(P50_US, number, value) for number, value in enumerate(ours)]
        + [reading(P50_FLOOR, number, value) for number, value in enumerate(floor)]
    )
    assert results.ratio(P50_US, P50_FLOOR) == 1.5


def test_a_round_that_failed_on_one_side_is_left_out_of_the_ratio() -> None:
    results = Results(
        [
            reading(P50_US, 0, 30.0),
            reading(P50_US, 1, 12.0),
            reading(P50_FLOOR, 1, 10.0),
            Reading(Cell("latency", "one CPU", FLOOR, 0), {}, "it fell over"),
        ]
    )
    assert results.ratio(P50_US, P50_FLOOR) == 1.2
    assert [one.error for one in results.errors()] == ["it fell over"]


def test_a_ratio_without_a_common_round_or_to_zero_is_none() -> None:
    apart = Results([reading(P50_US, 0, 1.0), reading(P50_FLOOR, 1, 1.0)])
    zero = Results([reading(P50_US, 0, 1.0), reading(P50_FLOOR, 0, 0.0)])
    assert apart.ratio(P50_US, P50_FLOOR) is None
    assert zero.ratio(P50_US, P50_FLOOR) is None


@pytest.mark.parametrize(
    ("value", "at_least", "reached"),
    [
        (1.5, False, True),
        (1.51, False, False),
        (1.5, True, True),
        (1.49, True, False),
        (None, True, None),
    ],
)
def test_a_verdict_follows_its_limit(
    value: float | None, at_least: bool, reached: bool | None
) -> None:
    target = Target("a figure", P50_US, P50_FLOOR, 1.5, at_least=at_least)
    assert Verdict(target, value).reached is reached


def test_judging_divides_the_named_figures() -> None:
    executor = Key("latency", "one CPU", EXECUTOR, "p50")
    results = Results([reading(P50_US, 0, 12e-6), reading(executor, 0, 240e-6)])
    verdicts = {one.target.text: one for one in judge(results, Settings())}
    verdict = verdicts["leased call faster than ProcessPoolExecutor"]
    assert verdict.value == pytest.approx(20.0)
    assert verdict.reached is True
    assert verdicts["leased call p50 / C socket p50"].reached is None


def test_every_target_names_figures_that_are_measured() -> None:
    settings = Settings()
    for target in targets(settings):
        for key in (target.measured, target.reference):
            if key is not None:
                measurement = MEASUREMENTS[key.measurement]
                assert key.figure in [column.figure for column in measurement.columns]
                assert key.measurement in CONTENDERS[key.contender].offers
                if key.measurement != "start":  # its variants are what is installed
                    assert key.variant in measurement.variants(settings)


def test_every_offered_measurement_exists_and_has_a_first_column() -> None:
    for contender in CONTENDERS.values():
        assert contender.offers <= MEASUREMENTS.keys()
    assert all(measurement.columns for measurement in MEASUREMENTS.values())


def test_contenders_of_one_question_follow_one_another_and_take_turns_to_begin() -> None:
    contenders: dict[str, Contender] = {
        name: CONTENDERS[name]() for name in (FLOOR, EXECUTOR, "multiprocessing.Pool")
    }
    cells = list(plan(["latency"], contenders, Settings(rounds=3)))
    assert len(cells) == 3 * 2 * 3
    groups = [cells[begin : begin + 3] for begin in range(0, len(cells), 3)]
    for group in groups:
        assert len({(cell.variant, cell.round) for cell in group}) == 1
        assert {cell.contender for cell in group} == contenders.keys()
    assert {group[0].contender for group in groups} == contenders.keys()


@pytest.mark.skipif(floor_contender.compiler() is None, reason="needs a C compiler")
def test_the_floor_compiles_and_answers(tmp_path: Path) -> None:
    program = floor_contender.build(tmp_path)
    times = floor_contender.round_trips(program, calls=100, warm=10)
    assert len(times) == 100
    assert all(0 < one < 60 for one in times)


@pytest.mark.skipif(floor_contender.compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("arguments", [[], ["0", "0", "1"], ["1", "-1", "1"], ["1", "0", "x"]])
def test_the_floor_refuses_wrong_arguments(tmp_path: Path, arguments: list[str]) -> None:
    program = floor_contender.build(tmp_path)
    done = subprocess.run([program, *arguments], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"usage" in done.stderr


@pytest.mark.parametrize("measurement", ["latency", "threads", "burst", "map", "memory"])
def test_a_cell_of_a_few_calls_gives_all_its_figures(measurement: str) -> None:
    variant = MEASUREMENTS[measurement].variants(TINY)[0]
    result = run_one(Cell(measurement, variant, EXECUTOR, 0), TINY)
    assert result.error is None
    for column in MEASUREMENTS[measurement].columns:
        assert result.figures[column.figure] > 0


def test_a_cell_that_fails_is_a_reading_that_says_why() -> None:
    result = run_one(Cell("map", "no such case", EXECUTOR, 0), TINY)
    assert result.figures == {}
    assert result.error is not None
    assert "no such case" in result.error


def test_a_cell_that_never_ends_is_killed_at_its_limit() -> None:
    endless = Settings(seconds=1e6, max_calls=10**9, workers=2)
    begin = time.monotonic()
    result = run_one(Cell("latency", "any CPU", EXECUTOR, 0), endless, limit=2.0)
    assert result.error == "no figures after 2 s"
    assert time.monotonic() - begin < 60


def test_a_record_shown_again_gives_the_same_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, page = tmp_path / "record.json", tmp_path / "README.md"
    page.write_text(f"# Head\n\n{run.BEGIN}\nold figures\n{run.END}\n\ntail\n")
    value = {
        "command": "python -m benchmarks --quick",
        "machine": {"date": "today"},
        "absent": {},
        "settings": json.loads(json.dumps(vars(Settings.quick()))),
        "readings": [reading(P50_US, 0, 15e-6).to_json(), reading(P50_FLOOR, 0, 10e-6).to_json()],
    }
    record.write_text(json.dumps(value))
    assert run.main(["--load", str(record), "--markdown", str(page)]) == 0
    shown, written = capsys.readouterr().out, page.read_text()
    for text in (shown, written):
        assert "1.50x" in text
        assert "reached" in text
    assert written.startswith("# Head\n")
    assert written.endswith("tail\n")
    assert "old figures" not in written
    assert "python -m benchmarks --quick" in written


def test_the_exit_status_tells_of_a_failed_subject_and_not_of_a_failed_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    value = {
        "command": "",
        "machine": {"date": "today"},
        "absent": {"loky": "loky is not installed"},
        "settings": vars(Settings()),
        "readings": [Reading(Cell("map", "x", EXECUTOR, 0), {}, "peer fell over").to_json()],
    }
    record.write_text(json.dumps(value))
    assert run.main(["--load", str(record)]) == 0
    value["readings"] = [Reading(Cell("map", "x", US, 0), {}, "we fell over").to_json()]
    record.write_text(json.dumps(value))
    assert run.main(["--load", str(record)]) == 1
    assert "we fell over" in capsys.readouterr().out


def test_an_unknown_measurement_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run.main(["--only", "latency,weight"])
    error = capsys.readouterr().err
    assert "weight" in error
    assert "latency" in error


def test_markdown_rows_have_as_many_cells_as_the_head() -> None:
    table = report.Table("A title", ("figure", "p50 us"), [("one", "1.0"), ("two", "2.0")])
    lines = report.markdown({"date": "today"}, "command", [table]).splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {3}


def test_a_sleep_is_seen_as_a_wake_up() -> None:
    before = procfs.wakeups(os.getpid())
    for _ in range(10):
        time.sleep(0.001)
    assert procfs.wakeups(os.getpid()) - before >= 10


def test_a_child_is_a_descendant_with_memory_and_is_gone_when_reaped() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in procfs.descendants(os.getpid())
        assert procfs.settle(processes=1, quiet=0.05, limit=30)
        memory = procfs.memory(child.pid)
        assert memory.rss >= memory.pss > 0
        child.communicate(b"\n", timeout=30)
    assert child.pid not in procfs.descendants(os.getpid())
    assert procfs.wakeups(child.pid) == 0


def test_a_contender_that_is_not_installed_says_so() -> None:
    class Absent(Loky):
        package = "no_such_pool_of_workers"
        distribution = "no-such-pool"

    assert Absent().missing() == "no-such-pool is not installed"
