"""Anything, as data: what any codec carries, with bounds."""

from __future__ import annotations

from typing import Any

_TEXT_MAX = 2**20
_DEPTH_MAX = 40
_INT_MAX = 2**63 - 1


def plain(value: Any, depth: int = 0) -> Any:
    """None, bool, int, float, str, list and dict of str only; other things as their text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _INT_MAX else str(value)
    if isinstance(value, str):
        return short(value)
    if depth > _DEPTH_MAX:
        return "..."
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth + 1) for item in value]
    return short(str(value))


def short(text: str) -> str:
    """The text, or its beginning and its end; always encodable."""
    if len(text) > _TEXT_MAX:
        half = _TEXT_MAX // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
