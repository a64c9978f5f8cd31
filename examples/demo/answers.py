"""What the demo's functions answer.

Its own module, free of pypdf and Pillow: the worker imports it to build the
answers, the host to restore them, and the host never loads the libraries that
meet the files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """The text of a PDF, one string a page."""

    pages: list[str]

    @property
    def characters(self) -> int:
        return sum(map(len, self.pages))


@dataclass(frozen=True)
class Thumbnail:
    """A small PNG, and what the image was that it was made from."""

    png: bytes
    kind: str  # Pillow's name of the format: "JPEG", "PNG", ...
    width: int  # pixels, as stored: before the camera's orientation is applied
    height: int
    frames: int
