"""The one place where the host reads a pickle that a worker made.

Only an Executor opened with results="pickle" comes here: its user chose that a worker may run code
in this process. tests/test_source.py holds that there is no other place, and who imports this one.
"""

from __future__ import annotations

import pickle
from typing import Any


def from_worker(data: bytes | memoryview) -> Any:
    """The value. Raises whatever the pickle makes happen, also SystemExit. Any thread."""
    return pickle.loads(data)  # noqa: S301  # nosec B301: chosen by results="pickle"
