"""Pages on top of pdf.py: a pen that writes content streams, and the page tree."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .pdf import PdfFile, literal, reference, references, stream, utf16_literal

A4 = (595, 842)
# Resource name -> one of the fonts that every viewer has.
FONTS = {"F1": "Helvetica", "F2": "Helvetica-Bold", "F3": "Times-Roman", "F4": "Courier"}
# Helvetica's advance widths of what stands in a figure, in 1/1000 of the size.
FIGURE_WIDTHS = dict.fromkeys("0123456789\N{EURO SIGN}", 556) | {".": 278, ",": 278, " ": 278}


class Pen:
    """Writes one content stream; x to the right and y upwards, in points."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def raw(self, operators: str) -> None:
        self.parts.append(operators.encode("ascii"))

    def text(self, x: float, y: float, text: str, size: float = 10, font: str = "F1") -> None:
        self._show(x, y, literal(text) + b" Tj", size, font)

    def right(self, x: float, y: float, figure: str, size: float = 10) -> None:
        """A figure that ends at `x`, in Helvetica."""
        width = sum(FIGURE_WIDTHS.get(char, 600) for char in figure) * size / 1000
        self.text(x - width, y, figure, size)

    def glyphs(self, x: float, y: float, codes: Sequence[int], size: float = 10) -> None:
        """Text of the two-byte font F5, see `unicode_font`."""
        codes_hex = "".join(f"{code:04x}" for code in codes)
        self._show(x, y, b"<" + codes_hex.encode() + b"> Tj", size, "F5")

    def kerned(self, x: float, y: float, text: str, size: float, font: str = "F3") -> None:
        """One line with its letters set by hand, as typesetting programs write it."""
        pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
        array = b"[" + b" -14 ".join(map(literal, pieces)) + b"] TJ"
        self._show(x, y, array, size, font)

    def block(self, x: float, y: float, text: str, columns: int = 92, size: float = 10) -> float:
        """Wrapped lines from `y` downwards; gives the y below the last one."""
        for line in textwrap.wrap(text, columns):
            self.text(x, y, line, size, "F3")
            y -= size * 1.35
        return y

    def line(self, x1: float, y1: float, x2: float, y2: float, width: float = 0.5) -> None:
        self.raw(f"{width} w {x1:.1f} {y1:.1f} m {x2:.1f} {y2:.1f} l S")

    def box(self, x: float, y: float, width: float, height: float, gray: float) -> None:
        self.raw(f"q {gray} g {x:.1f} {y:.1f} {width:.1f} {height:.1f} re f Q")

    def content(self) -> bytes:
        return b"\n".join(self.parts)

    def _show(self, x: float, y: float, operator: bytes, size: float, font: str) -> None:
        place = f"BT /{font} {size:g} Tf 1 0 0 1 {x:.1f} {y:.1f} Tm ".encode()
        self.parts.append(place + operator + b" ET")


class Book:
    """A PDF with one flat page tree; the kinds that need more use `file` itself."""

    def __init__(self, title: str, version: str = "1.7") -> None:
        self.file = PdfFile(version)
        self.tree = self.file.reserve()
        self.catalog = self.file.reserve()
        self.pages: list[int] = []
        self.catalog_entries = b""
        self.info = self.file.add(b"<</Title" + utf16_literal(title) + b"/Producer(pyproc demo)>>")
        fonts = b"".join(self._font(name, base) for name, base in FONTS.items())
        self.fonts = fonts
        self.resources = b"/Resources<</Font<<%s>>>>" % fonts

    def _font(self, name: str, base: str) -> bytes:
        body = f"<</Type/Font/Subtype/Type1/BaseFont/{base}/Encoding/WinAnsiEncoding>>"
        return f"/{name} {self.file.add(body.encode())} 0 R".encode()

    def use(self, font: bytes = b"", other: bytes = b"") -> None:
        """Adds a font or other resources for the pages that follow."""
        self.resources = b"/Resources<</Font<<%s%s>>%s>>" % (self.fonts, font, other)

    def page(
        self,
        pen: Pen,
        size: tuple[int, int] = A4,
        rotate: int = 0,
        encoding: str = "flate",
        entries: bytes = b"",
    ) -> int:
        contents = self.file.add(stream(pen.content(), encoding=encoding))
        if rotate:
            entries += b"/Rotate %d" % rotate
        number = self.file.add(
            b"<</Type/Page/Parent %s/MediaBox[0 0 %d %d]/Contents %s%s%s>>"
            % (reference(self.tree), *size, reference(contents), self.resources, entries)
        )
        self.pages.append(number)
        return number

    def finish(self, layout: str = "table") -> bytes:
        kids = references(self.pages)
        self.file.put(self.tree, b"<</Type/Pages/Count %d/Kids%s>>" % (len(self.pages), kids))
        self.finish_catalog()
        return self.file.write(self.catalog, layout, None if layout == "encrypted" else self.info)

    def finish_catalog(self) -> None:
        pages = reference(self.tree)
        self.file.put(self.catalog, b"<</Type/Catalog/Pages %s%s>>" % (pages, self.catalog_entries))


def unicode_font(book: Book, alphabet: Sequence[str]) -> bytes:
    """A two-byte font whose glyph n is alphabet[n]; only the ToUnicode map says so."""
    lines = [
        f"<{code:04x}> <{char.encode('utf-16-be').hex()}>" for code, char in enumerate(alphabet)
    ]
    chunks = [lines[at : at + 100] for at in range(0, len(lines), 100)]
    maps = "\n".join(
        f"{len(chunk)} beginbfchar\n" + "\n".join(chunk) + "\nendbfchar" for chunk in chunks
    )
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CMapName /Demo def /CMapType 2 def\n"
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{maps}\nendcmap end end"
    )
    to_unicode = book.file.add(stream(cmap.encode()))
    descendant = book.file.add(
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/DemoSans/DW 600"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>"
    )
    font = book.file.add(
        b"<</Type/Font/Subtype/Type0/BaseFont/DemoSans/Encoding/Identity-H"
        b"/DescendantFonts[%d 0 R]/ToUnicode %d 0 R>>" % (descendant, to_unicode)
    )
    return b"/F5 " + reference(font)
