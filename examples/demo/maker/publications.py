"""Longer and odder documents: reports, slides, a newsletter, a scan, drawings, damage."""

from __future__ import annotations

import math
import random

from .business import Made
from .page import A4, Book, Pen
from .pdf import reference, stream, utf16_literal
from .words import TOWNS, paragraph, sentence

LANDSCAPE = (842, 595)


def report(rng: random.Random, pages: int, layout: str = "table") -> Made:
    """A report with chapters, running heads and an outline."""
    title = f"Annual report in {pages} pages"
    book = Book(title, "1.5" if layout == "object streams" else "1.4")
    chapters: list[tuple[str, int]] = []
    for page in range(1, pages + 1):
        pen = Pen()
        pen.text(60, 805, title, 8)
        pen.right(535, 805, str(page), 8)
        pen.line(60, 800, 535, 800)
        y = 775.0
        if page % 10 == 1:
            heading = f"{page // 10 + 1} {rng.choice(TOWNS)} and its surroundings"
            pen.text(60, y, heading, 16, "F2")
            y -= 30
        while y > 140:
            y = pen.block(60, y, paragraph(rng, rng.randint(3, 7))) - 9
        number = book.page(pen)
        if page % 10 == 1:
            chapters.append((heading, number))
    phrase = f"End of the report, page {pages}"
    pen = Pen()
    pen.text(60, 780, phrase, 11, "F2")
    book.page(pen)
    add_outline(book, chapters)
    return book.finish(layout), pages + 1, phrase


def add_outline(book: Book, chapters: list[tuple[str, int]]) -> None:
    root = book.file.reserve()
    items = [book.file.reserve() for _ in chapters]
    for at, (heading, page) in enumerate(chapters):
        links = b"/Prev %d 0 R" % items[at - 1] if at else b""
        links += b"/Next %d 0 R" % items[at + 1] if at + 1 < len(items) else b""
        entries = (utf16_literal(heading), root, page, links)
        book.file.put(items[at], b"<</Title%s/Parent %d 0 R/Dest[%d 0 R/Fit]%s>>" % entries)
    outline = b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>"
    book.file.put(root, outline % (items[0], items[-1], len(items)))
    book.catalog_entries = b"/Outlines " + reference(root)


def rotated(rng: random.Random) -> Made:
    """Drawings filed turned: every page has another /Rotate."""
    book = Book("Rotated plans")
    for turn in (0, 90, 180, 270):
        pen = Pen()
        pen.text(80, 760, f"Sheet turned by {turn} degrees", 14, "F2")
        pen.block(80, 720, paragraph(rng, 12), 80)
        book.page(pen, rotate=turn)
    return book.finish(), 4, "Sheet turned by 270 degrees"


def slides(rng: random.Random, count: int) -> Made:
    """Landscape slides; frame and footer come from a form XObject that all share."""
    book = Book("Slides")
    frame = Pen()
    frame.raw("q 0.1 0.3 0.55 rg 0 555 842 40 re f Q")
    frame.text(30, 18, "Quillfeather Ltd., internal", 9)
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 842 595]" + book.resources
    form = book.file.add(stream(frame.content(), entries))
    book.use(other=b"/XObject<</Frame %d 0 R>>" % form)
    for slide in range(1, count + 1):
        pen = Pen()
        pen.raw("q /Frame Do Q")
        pen.text(50, 500, f"{slide}. {rng.choice(TOWNS)} in figures", 26, "F2")
        for row in range(5):
            pen.text(70, 440 - 40 * row, "\N{BULLET} " + sentence(rng), 14)
        for bar in range(12):
            pen.box(80 + 55 * bar, 60, 40, rng.randint(20, 150), 0.75)
        book.page(pen, LANDSCAPE)
    return book.finish("object streams"), count, "Quillfeather Ltd., internal"


def newsletter(rng: random.Random) -> Made:
    """Two columns with kerned lines, an inline image and hexadecimal streams."""
    book = Book("Newsletter", "1.2")
    phrase = "Harbour News, a quarterly"
    for page in range(3):
        pen = Pen()
        pen.kerned(60, 790, phrase if page == 0 else f"Harbour News, page {page + 1}", 20)
        pixels = bytes(rng.randrange(256) for _ in range(16 * 16)).hex()
        pen.raw(f"q 60 0 0 60 480 765 cm BI /W 16 /H 16 /BPC 8 /CS /G /F /AHx ID {pixels}> EI Q")
        for column in (60, 310):
            y = 740.0
            while y > 80:
                words = sentence(rng).split()
                half = len(words) // 2
                pen.kerned(column, y, " ".join(words[:half]), 9.5)
                pen.kerned(column, y - 12, " ".join(words[half:]), 9.5)
                y -= 24
        book.page(pen, encoding="hex")
    return book.finish(), 3, phrase


def scan(rng: random.Random, jpegs: list[tuple[bytes, int, int]]) -> Made:
    """Scanned pages: a JPEG each, under invisible text of the recognised words."""
    book = Book("Scan", "1.4")
    phrase = ""
    for jpeg, width, height in jpegs:
        colour = b"/Type/XObject/Subtype/Image/Width %d/Height %d" % (width, height)
        colour += b"/ColorSpace/DeviceGray/BitsPerComponent 8/Filter/DCTDecode"
        image = book.file.add(stream(jpeg, colour, "none"))
        book.use(other=b"/XObject<</Page %d 0 R>>" % image)
        pen = Pen()
        pen.raw("q 595 0 0 842 0 0 cm /Page Do Q 3 Tr")
        phrase = f"Recognised leaf {len(book.pages) + 1}"
        pen.text(60, 790, phrase, 12, "F3")
        for row in range(40):
            pen.text(60, 770 - 17 * row, sentence(rng), 10, "F3")
        book.page(pen)
    return book.finish(), len(jpegs), phrase


def map_sheet(rng: random.Random) -> Made:
    """Contour lines: a few labels among tens of thousands of path operators."""
    book = Book("Map sheet 14")
    pen = Pen()
    for level in range(60):
        radius, phase = 20 + 6.5 * level, rng.uniform(0, 6.28)
        for step in range(240):
            angle = step * math.pi / 120
            wave = radius + 9 * math.sin(5 * angle + phase) + rng.uniform(-0.6, 0.6)
            x, y = 420 + wave * math.cos(angle), 595 + wave * math.sin(angle)
            pen.raw(f"{x:.2f} {y:.2f} {'l' if step else 'm'}")
        pen.raw("s")
        if level % 6 == 0:
            pen.text(424 + radius, 595, f"{level * 10} m", 7)
    phrase = "Sheet 14, heights in metres"
    pen.text(40, 40, phrase, 10, "F2")
    book.page(pen, (842, 1190))
    return book.finish(), 1, phrase


def drawing(rng: random.Random) -> Made:
    """A page with no text at all: the right answer is an empty string."""
    book = Book("Drawing", "1.1")
    pen = Pen()
    for _ in range(400):
        x, y = rng.uniform(20, 570), rng.uniform(20, 820)
        pen.line(x, y, x + rng.uniform(-60, 60), y + rng.uniform(-60, 60), 0.4)
    book.page(pen, A4, encoding="none")
    return book.finish(), 1, ""


def encrypted(rng: random.Random) -> Made:
    """Encrypted under an empty user password: readers open it without asking."""
    book = Book("Confidential")
    phrase = "Vertraulich, nicht weitergeben"
    for page in range(1, 4):
        pen = Pen()
        pen.text(60, 780, f"{phrase} ({page})", 12, "F2")
        pen.block(60, 750, paragraph(rng, 15))
        book.page(pen)
    return book.finish("encrypted"), 3, phrase


def damaged(rng: random.Random) -> Made:
    """A report behind the lines of a mail header: no offset in it is right any more."""
    whole, pages, phrase = report(rng, 7)
    return b"Content-Type: application/pdf\r\n\r\n" + whole, pages, phrase
