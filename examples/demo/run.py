"""The demo: text from PDF files and thumbnails of images, by a pool of workers.

    python examples/demo/run.py [--input DIR] [--output DIR] [--workers N] [--timeout S]

Without --input it reads the files in `inputs/`, two of which are hostile, and
calls one function that segfaults. It ends with 0 only when each file had the
outcome that `inputs/expected.json` names; the texts, thumbnails and a
`results.json` are written to the output directory.

Two things here keep a program like this from growing with its input: files are
read when a worker is free for them, and never more calls are out than workers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from answers import Text, Thumbnail
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from table import Job, Row, as_json, summary, table_of, told

import pyproc
from pyproc import Limits, Pool, Timeouts

HERE = Path(__file__).resolve().parent
IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".ico",
}  # fmt: skip
RESTORED_AS = {"extract": Text, "thumbnail": Thumbnail}


def expectations(folder: Path) -> dict[str, dict[str, object]]:
    """What make_inputs.py wrote about its files; of other folders nothing is known."""
    listed = folder / "expected.json"
    if not listed.is_file():
        return {}
    found = json.loads(listed.read_text(encoding="utf-8"))
    return found.get("pyproc demo", {}) if isinstance(found, dict) else {}


def jobs_for(folder: Path, output: Path) -> list[Job]:
    """A job for each PDF and image below `folder`, the hostile ones first."""
    expected = expectations(folder)
    jobs = []
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in IMAGE_SUFFIXES | {".pdf"} or not path.is_file():
            continue
        if path.resolve().is_relative_to(output.resolve()):
            continue  # thumbnails of an earlier run
        name = path.relative_to(folder).as_posix()
        function = "extract" if suffix == ".pdf" else "thumbnail"
        jobs.append(Job(name, function, path, expected.get(name, {})))
    missing = expected.keys() - {job.name for job in jobs}
    jobs += [Job(name, "", folder / name, expected[name]) for name in missing]
    return sorted(jobs, key=lambda job: ("fails" not in job.expected, job.name))


def run_jobs(pool: Pool, jobs: Iterable[Job], at_once: int) -> Iterator[Row]:
    """Gives a row for each job as it ends, keeping `at_once` calls out."""
    waiting = iter(jobs)
    out: dict[Future[object], tuple[Job, float]] = {}
    more = True
    while more or out:
        while more and len(out) < at_once:
            job = next(waiting, None)
            if job is None:
                more = False
                break
            start = time.perf_counter()
            try:
                out[submit(pool, job)] = (job, start)
            except (OSError, pyproc.Error) as error:  # unreadable, or too large to be sent
                yield Row(job, time.perf_counter() - start, error=error)
        done, _ = wait(out, return_when=FIRST_COMPLETED)
        for future in done:
            job, start = out.pop(future)
            seconds, failure = time.perf_counter() - start, future.exception()
            yield Row(job, seconds, None if failure else future.result(), failure)


def submit(pool: Pool, job: Job) -> Future[object]:
    if job.path is None:
        return pool.submit(job.function)
    data = job.path.read_bytes()
    return pool.options(result_type=RESTORED_AS[job.function]).submit(job.function, data)


def keep(row: Row, output: Path) -> None:
    """Writes the answer below `output`, under the file's own name."""
    target = output / row.job.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(row.value, Text):
        text = "\f".join(row.value.pages)
        target.with_name(target.name + ".txt").write_text(text, encoding="utf-8", errors="replace")
    elif isinstance(row.value, Thumbnail):
        target.with_name(target.name + ".thumbnail.png").write_bytes(row.value.png)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    def at_least_one(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return int(text)

    def seconds(text: str) -> float:
        if not 0 < float(text) < float("inf"):
            raise argparse.ArgumentTypeError("must be a positive number of seconds")
        return float(text)

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", type=Path, help="a folder of your own PDF files and images")
    parser.add_argument("--output", type=Path, default=HERE / "output")
    workers = min(8, max(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--workers", type=at_least_one, default=workers)
    parser.add_argument("--timeout", type=seconds, default=5.0, help="seconds a file may take")
    options = parser.parse_args(arguments)
    if options.input and not options.input.is_dir():
        parser.error(f"--input: {options.input} is not a folder")
    return options


def run(options: argparse.Namespace, console: Console) -> int:
    """Runs all jobs and shows the table; the exit code."""
    folder = options.input or HERE / "inputs"
    jobs = jobs_for(folder, options.output)
    if not jobs:
        console.print(f"No PDF file or image below {folder}.", markup=False)
        return 2
    if options.input is None:  # in the middle, so that calls before and after it are seen to work
        crash = Job("crash() reads from address 0", "crash", None, {"fails": ["WorkerCrashed"]})
        jobs.insert(len(jobs) // 2, crash)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    begin = time.perf_counter()
    rows = []
    pool = Pool(
        "documents:app",
        workers=options.workers,
        # A damaged or hostile file may ask for any amount of memory and time.
        limits=Limits(address_space="768MiB"),
        timeouts=Timeouts(task=options.timeout),
    )
    with pool, bar:
        task = bar.add_task(f"{options.workers} workers", total=len(jobs))
        for row in run_jobs(pool, jobs, options.workers):
            rows.append(row)
            keep(row, options.output)
            bar.advance(task)
    seconds = time.perf_counter() - begin
    order = {job.name: place for place, job in enumerate(jobs)}
    rows.sort(key=lambda row: order[row.job.name])
    console.print(table_of(rows, options.timeout))
    text, unexpected = summary(rows, seconds, options.workers, options.timeout)
    results = json.dumps([as_json(row, options.timeout) for row in rows], indent=1)
    (options.output / "results.json").write_text(results + "\n", encoding="utf-8")
    console.print(text, markup=False, highlight=False)
    console.print(f"Texts, thumbnails and results.json: {options.output}", markup=False)
    return 1 if unexpected else 0


def main(arguments: list[str] | None = None) -> int:
    """The whole program; 0: as expected, 1: not, 2: wrong arguments, 130: interrupted."""
    options = parsed(arguments)
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 132)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        return run(options, console)
    except (pyproc.Error, OSError) as error:
        print(f"The demo could not run: {told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the workers are gone.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
