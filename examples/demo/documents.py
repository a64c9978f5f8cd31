"""The demo's application: it runs in the workers and meets the files.

pypdf and Pillow get bytes that nobody has checked. Whatever that does to the
process that runs them, it is a worker, and costs the one call that is on it.
"""

from __future__ import annotations

import ctypes
import io
import logging
import warnings

from answers import Text, Thumbnail
from PIL import Image, ImageOps
from pypdf import PdfReader

from pyproc import App

app = App()


@app.on_start
def keep_quiet() -> None:
    """The table tells what failed; the libraries' warnings about odd files do not add to it."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@app.expose
def extract(data: bytes) -> Text:
    """The text of each page of a PDF."""
    reader = PdfReader(io.BytesIO(data))
    return Text([page.extract_text() for page in reader.pages])


@app.expose
def thumbnail(data: bytes, size: int = 128) -> Thumbnail:
    """A PNG of at most `size` x `size` pixels of an image's first frame, upright."""
    with Image.open(io.BytesIO(data)) as image:
        kind, frames = image.format or "?", getattr(image, "n_frames", 1)
        width, height = image.size
        image.draft(None, (size, size))  # a JPEG is decoded at an eighth when that is enough
        ImageOps.exif_transpose(image, in_place=True)
        small = in_eight_bit_colours(image)
        small.thumbnail((size, size))
    out = io.BytesIO()
    small.save(out, "PNG")
    return Thumbnail(out.getvalue(), kind, width, height, frames)


def in_eight_bit_colours(image: Image.Image) -> Image.Image:
    """RGB or RGBA, which can be made smaller with soft edges; others cannot."""
    if image.mode.startswith("I"):  # 16 bits: convert() alone would clip, not scale
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


@app.expose
def crash() -> None:
    """Reads from address 0: a real segmentation fault, as a bug in a C library makes it."""
    ctypes.string_at(0)
