"""Thumbnails of images by Pillow: pictures of strangers are opened in workers only.

    python examples/thumbnails.py [FOLDER]

Without a folder it makes some pictures, a file that is none, and one that claims to be huge.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import pyproc

app = pyproc.App()
SIZE = (64, 64)


@app.expose
def thumbnail(data: bytes) -> bytes:
    """A small PNG of any picture."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail(SIZE)
        out = io.BytesIO()
        image.convert("RGB").save(out, "PNG")
        return out.getvalue()


@app.expose
def picture(width: int, height: int) -> bytes:
    """A picture to try it with."""
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(out, "JPEG")
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))


def main() -> None:
    """Prints what became of each picture."""
    limits = pyproc.Limits(memory="512MiB", cpu_time=30)
    with pyproc.Pool(Path(__file__), workers=2, limits=limits, sandbox="baseline") as pool:
        if len(sys.argv) > 1:
            folder = sorted(Path(sys.argv[1]).iterdir())
            files = {path.name: path.read_bytes() for path in folder if path.is_file()}
        else:
            files = {
                "wide.jpg": pool.call("picture", 800, 200),
                "tall.jpg": pool.call("picture", 200, 800),
                "words.jpg": b"no picture at all",
                "bomb.png": bomb(),
            }
        results = pool.map("thumbnail", files.values(), return_exceptions=True)
        for name, result in zip(files, results, strict=True):
            failed = isinstance(result, Exception)
            print(f"{name}:", type(result).__name__ if failed else f"{result[:4]!r} thumbnail")


if __name__ == "__main__":
    main()
