"""What ordinary programs do: each works in "baseline" as it does outside."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from pyproc import App

app = App()


def square(number: int) -> int:
    return number * number


def put(queue: Any, number: int) -> None:
    queue.put(number)


@app.expose
def pid() -> int:
    return os.getpid()


@app.expose
def processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


@app.expose
def change_mode(path: str) -> None:
    os.chmod(path, 0o777)


@app.expose
def times_out() -> str:
    try:
        subprocess.run(["/bin/sleep", "60"], timeout=0.2, check=False)
    except subprocess.TimeoutExpired:
        return "works"
    return "ran"


@app.expose
def asyncio_program() -> str:
    async def main() -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("/bin/echo", "works", stdout=pipe)
        return (await process.communicate())[0].decode().strip()

    return asyncio.run(main())


@app.expose
def copied_tree() -> str:
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "from").mkdir()
        program = Path(top) / "from" / "program"
        program.write_text("#!/bin/sh\necho works\n")
        program.chmod(0o755)
        os.utime(program, (1, 1))
        shutil.copytree(program.parent, Path(top) / "to")
        assert (Path(top) / "to" / "program").stat().st_mtime == 1
        assert (Path(top) / "to" / "program").stat().st_mode & 0o777 == 0o755
        command = ["/bin/sh", f"{top}/to/program"]  # scratch holds data: its files are not run
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@app.expose
def archives() -> str:
    with tempfile.TemporaryDirectory() as top:
        file = Path(top) / "file"
        file.write_text("works")
        with tarfile.open(f"{top}/a.tar.gz", "w:gz") as tar:
            tar.add(file, "file")
        with tarfile.open(f"{top}/a.tar.gz") as tar:
            guarded: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(f"{top}/tar", **guarded)
        with zipfile.ZipFile(f"{top}/a.zip", "w") as archive:
            archive.write(file, "file")
        with zipfile.ZipFile(f"{top}/a.zip") as archive:
            archive.extractall(f"{top}/zip")
        assert Path(f"{top}/zip/file").read_text() == "works"
        return Path(f"{top}/tar/file").read_text()


@app.expose
def database() -> str:
    with tempfile.TemporaryDirectory() as top:
        connection = sqlite3.connect(Path(top) / "db")
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table words (word)")
        connection.execute("insert into words values ('works')")
        connection.commit()
        found = connection.execute("select word from words").fetchone()
        connection.close()
        return str(found[0])


@app.expose
def queued() -> str:
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    process = context.Process(target=put, args=(queue, 7))
    process.start()
    number = queue.get(timeout=60)
    process.join()
    queue.close()
    queue.join_thread()
    return "works" if number == 7 else "lost"


@app.expose
def joblib_program() -> str:
    import joblib  # type: ignore[import-untyped]

    found = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(3))
    return "works" if found == [0, 1, 4] else "lost"
