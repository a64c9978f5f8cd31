"""Libraries that parse what strangers send, imported at the top: bytes come in, data goes out."""

from __future__ import annotations

import io

import pymupdf
import pypdf
from lxml import etree
from PIL import Image

import pyproc

app = pyproc.App()
Image.init()  # Pillow imports the rest of its formats, some of them compiled, at their first use


@app.expose
def texts(document: bytes) -> list[str]:
    """The text of each <p>."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return [str(found.text) for found in etree.fromstring(document, parser).iter("p")]


@app.expose
def page_title(document: bytes) -> str:
    return str(etree.HTML(document).findtext(".//title"))


@app.expose
def picture(kind: str, width: int, height: int) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 30)).save(output, kind)
    return output.getvalue()


@app.expose
def decoded(data: bytes) -> list[int]:
    """Width, height, and the red of the first pixel."""
    with Image.open(io.BytesIO(data)) as image:
        first = image.convert("RGB").getpixel((0, 0))
        assert isinstance(first, tuple)
        return [image.width, image.height, int(first[0])]


@app.expose
def written(pages: list[str]) -> bytes:
    """A PDF with a line on each page; its fonts are within the library."""
    with pymupdf.open() as document:
        for line in pages:
            document.new_page().insert_text((72, 72), line)
        return bytes(document.tobytes())


@app.expose
def read(data: bytes, library: str) -> list[str]:
    if library == "pypdf":
        return [page.extract_text().strip() for page in pypdf.PdfReader(io.BytesIO(data)).pages]
    with pymupdf.open(stream=data, filetype="pdf") as document:
        return [page.get_text().strip() for page in document]


@app.expose
def drawn(data: bytes) -> list[int]:
    """The size of the first page as an image."""
    with pymupdf.open(stream=data, filetype="pdf") as document:
        pixels = document[0].get_pixmap(dpi=72)
        return [pixels.width, pixels.height]
