"""A real Jupyter kernel, spoken to as a notebook does: cells go in, what they show comes out.

The kernel is a process of its own, started by jupyter_client as any front end starts it; its
files are in a folder of the test's.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hosts import is_gone, parents
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

#: Seconds that a cell or the kernel's start may take.
DEADLINE = 120.0


@dataclass
class Cell:
    """One cell's run: what it showed and how it ended."""

    number: str
    out: str = ""
    err: str = ""
    value: str | None = None  # what the last expression is, as text
    error: str | None = None  # the name of what it raised
    traceback: list[str] = field(default_factory=list)


class Notebook:
    """A kernel and its client. One thread."""

    def __init__(self, folder: Path, monkey: Any) -> None:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            monkey.setenv(name, str(folder / name.lower()))
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        self.manager.start_kernel(cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.manager.context.destroy(linger=0)

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return int(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def send(self, source: str) -> Cell:
        """Begins to run a cell."""
        return Cell(self.client.execute(source))

    def wait(self, cell: Cell, until: str | None = None) -> Cell:
        """Until the cell has ended, or has shown `until`."""
        deadline = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < deadline, cell
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != cell.number:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown = content["text"]
                if content["name"] == "stdout":
                    cell.out += shown
                else:
                    cell.err += shown
                if until is not None and until in cell.out:
                    return cell
            elif kind == "execute_result":
                cell.value = content["data"]["text/plain"]
            elif kind == "error":
                cell.error, cell.traceback = content["ename"], content["traceback"]
            elif kind == "status" and content["execution_state"] == "idle":
                return cell

    def run(self, source: str) -> Cell:
        """Runs a cell, which must not fail."""
        cell = self.wait(self.send(source))
        assert cell.error is None, "\n".join(cell.traceback)
        return cell

    def interrupt(self) -> None:
        """The stop button."""
        self.manager.interrupt_kernel()

    def restart(self, now: bool) -> None:
        """The restart button."""
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=DEADLINE)


def family(root: int) -> set[int]:
    """All processes below `root`, itself among them."""
    found, fresh = {root}, {root}
    while fresh:
        fresh = {pid for pid, parent in parents().items() if parent in fresh} - found
        found |= fresh
    return found


def left_of(pids: set[int]) -> set[int]:
    """Those that still live at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while True:
        pids = {pid for pid in pids if not is_gone(pid)}
        if not pids or time.monotonic() > deadline:
            return pids
        time.sleep(0.01)
