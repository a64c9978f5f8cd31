"""A service under asyncio that searches with patterns of its users.

    python examples/regex_service.py           # tries itself
    python examples/regex_service.py SOCKET    # serves: one JSON request a line

A pattern that never ends costs its own request: the time limit stops the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pyproc

app = pyproc.App()


@app.expose
def find(pattern: str, text: str) -> list[str]:
    """All matches."""
    return [match.group() for match in re.finditer(pattern, text)]


@contextlib.asynccontextmanager
async def service(path: str) -> AsyncIterator[asyncio.Server]:
    """Serves as long as the block lasts."""
    async with pyproc.Pool(Path(__file__), workers=2, sandbox="strict", cwd="/") as pool:
        calls = pool.options(timeout=2)

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                try:
                    answer = {"found": await calls.acall("find", **json.loads(line))}
                except Exception as error:  # a bad pattern, a wrong name, too long
                    answer = {"error": type(error).__name__}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(client, path) as server:
            yield server


async def ask(path: str, pattern: str, text: str) -> str:
    """One request."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(json.dumps({"pattern": pattern, "text": text}).encode() + b"\n")
    answer = (await reader.readline()).decode().strip()
    writer.close()
    await writer.wait_closed()
    return answer


async def main() -> None:
    """Serves and asks itself; the slow request holds up no other one."""
    if len(sys.argv) > 1:
        async with service(sys.argv[1]) as server:
            await server.serve_forever()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        async with service(path):
            slow = asyncio.create_task(ask(path, "(a+)+$", "a" * 50 + "b"))
            print("plain:", await ask(path, r"\d+", "a1 b22"))
            print("wrong:", await ask(path, "(", "text"))
            print("slow:", await slow)
            print("plain:", await ask(path, "[a-z]", "a1 b22"))


if __name__ == "__main__":
    asyncio.run(main())
