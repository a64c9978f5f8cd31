"""Everyday papers: invoices, letters, a statement, a price list, a form, a contract.

Each function gives the file's bytes, how many pages it has, and a phrase that
its text must contain.
"""

from __future__ import annotations

import random

from .page import Book, Pen, unicode_font
from .pdf import reference, references, stream, utf16_literal
from .words import ARTICLES, CITIES, COMPANIES, TOWNS, money, paragraph, sentence

Made = tuple[bytes, int, str]


def invoice(rng: random.Random, number: int, german: bool, positions: int) -> Made:
    """An invoice over one or more pages with a table of positions."""
    title = f"{'Rechnung' if german else 'Invoice'} Nr. {number}"
    book = Book(title, "1.4")
    decimal = "," if german else "."
    total = 0
    rows = []
    for position in range(1, positions + 1):
        name = rng.choice(ARTICLES)[0 if german else 1]
        count, cents = rng.randint(1, 40), rng.randint(95, 48_000)
        total += count * cents
        rows.append((str(position), name, str(count), cents, count * cents))
    pages = [rows[at : at + 32] for at in range(0, len(rows), 32)]
    for index, rows_of_page in enumerate(pages):
        pen = Pen()
        pen.text(60, 780, rng.choice(COMPANIES) if index == 0 else title, 16, "F2")
        pen.text(60, 760, f"Hafenstraße {rng.randint(1, 99)}, {rng.choice(TOWNS)}", 9)
        pen.text(60, 720, title, 13, "F2")
        pen.text(430, 720, f"{index + 1} / {len(pages)}")
        y = 690.0
        pen.box(55, y - 4, 485, 16, 0.88)
        for line, name, amount, cents, sum_cents in rows_of_page:
            y -= 17
            pen.text(60, y, line)
            pen.text(90, y, name)
            pen.right(340, y, amount)
            pen.right(430, y, money(cents, decimal))
            pen.right(535, y, money(sum_cents, decimal))
            pen.line(55, y - 4, 540, y - 4, 0.2)
        if index == len(pages) - 1:
            pen.text(320, y - 26, "Gesamtbetrag" if german else "Total due", 11, "F2")
            pen.right(535, y - 26, f"{money(total, decimal)} \N{EURO SIGN}", 11)
            note = "Zahlbar innerhalb von 14 Tagen." if german else "Payable within 14 days."
            pen.text(60, y - 60, note, 9)
        book.page(pen)
    return book.finish(), len(pages), f"{money(total, decimal)} \N{EURO SIGN}"


def letter(rng: random.Random, language: str) -> Made:
    """One page with accented letters in a one-byte encoding."""
    greeting, phrase = {
        "de": ("Sehr geehrte Frau Müßig,", "Mit freundlichen Grüßen aus Köln"),
        "fr": ("Chère Madame Noël,", "l'été dernier à Besançon, où l'œuvre fut achevée"),
        "sv": ("Kära Åsa,", "smörgåsar på ön, i ån och över älven"),
    }[language]
    book = Book(greeting, "1.3")
    pen = Pen()
    pen.text(70, 770, rng.choice(COMPANIES), 12, "F2")
    pen.text(70, 700, greeting, 11, "F3")
    y = pen.block(70, 670, paragraph(rng, 7), 80, 11)
    y = pen.block(70, y - 10, paragraph(rng, 5), 80, 11)
    pen.text(70, y - 30, phrase, 11, "F3")
    book.page(pen, encoding="flate+ascii85")
    return book.finish(), 1, phrase


def world_letter() -> Made:
    """Many alphabets in a two-byte font that only a ToUnicode map explains."""
    alphabet = sorted(set("".join(CITIES.values())) | set("ABCDEFGHIJKLMNOPQRSTUVWXYZ: "))
    codes = {char: code for code, char in enumerate(alphabet)}
    book = Book("Πόλεις, города, 都市", "1.5")
    book.use(font=unicode_font(book, alphabet))
    pen = Pen()
    pen.text(70, 780, "Branches abroad", 16, "F2")
    for row, (language, city) in enumerate(CITIES.items()):
        pen.text(70, 740 - 24 * row, language, 11)
        pen.glyphs(200, 740 - 24 * row, [codes[char] for char in city], 12)
    book.page(pen)
    return book.finish(), 1, CITIES["Japanese"]


def statement(rng: random.Random) -> Made:
    """A bank statement in compressed object streams, as newer producers write it."""
    book = Book("Kontoauszug", "1.5")
    balance = 1_250_000
    for page in range(1, 7):
        pen = Pen()
        pen.text(60, 790, f"Kontoauszug Blatt {page}", 14, "F2")
        for row in range(40):
            amount = rng.randint(-90_000, 95_000)
            balance += amount
            y = 750 - 16 * row
            pen.text(60, y, f"{rng.randint(1, 28):02d}.{page:02d}.", 9, "F4")
            pen.text(110, y, f"{rng.choice(COMPANIES)}, {rng.choice(TOWNS)}", 9)
            pen.right(450, y, money(abs(amount)), 9)
            pen.text(453, y, "+" if amount >= 0 else "-", 9, "F4")
            pen.right(540, y, money(balance), 9)
        book.page(pen)
    return book.finish("object streams"), 6, f"{money(balance)}"


def price_list(rng: random.Random, pages: int) -> Made:
    """A long ruled table; the page tree has two levels and inherited resources."""
    book = Book("Preisliste", "1.4")
    file = book.file
    leaves, article = [], ""
    branches = [file.reserve() for _ in range((pages + 9) // 10)]
    for page in range(pages):
        pen = Pen()
        pen.text(50, 800, f"Preisliste, Seite {page + 1}", 12, "F2")
        for row in range(45):
            y = 770 - 16 * row
            article = f"{rng.choice('ABCDEFGH')}-{rng.randint(10000, 99999)}"
            pen.text(55, y, article, 9, "F4")
            pen.text(130, y, " / ".join(rng.choice(ARTICLES)), 9)
            pen.right(480, y, money(rng.randint(50, 900_000)), 9)
            pen.text(490, y, rng.choice(("Stk", "kg", "m", "Satz")), 9)
            pen.line(50, y - 4, 545, y - 4, 0.3)
        for x in (50, 125, 420, 485, 545):
            pen.line(x, 62, x, 783, 0.3)
        contents = file.add(stream(pen.content()))
        body = b"<</Type/Page/Parent %d 0 R/Contents %d 0 R>>" % (branches[page // 10], contents)
        leaves.append(file.add(body))
    for index, branch in enumerate(branches):
        kids = leaves[index * 10 : index * 10 + 10]
        entries = (len(kids), references(kids), reference(book.tree))
        file.put(branch, b"<</Type/Pages/Count %d/Kids%s/Parent %s>>" % entries)
    root = (pages, references(branches), book.resources)
    file.put(book.tree, b"<</Type/Pages/Count %d/Kids%s/MediaBox[0 0 595 842]%s>>" % root)
    book.finish_catalog()
    return file.write(book.catalog, info=book.info), pages, article


def form(rng: random.Random) -> Made:
    """A form whose fields carry values and drawn appearances."""
    book = Book("Antrag auf Reisekostenerstattung")
    pen = Pen()
    pen.text(60, 790, "Antrag auf Reisekostenerstattung", 15, "F2")
    fields, labels = [], ("Name", "Abteilung", "Reiseziel", "Anlass", "Betrag")
    values = ("Jörg Köpenick", "Prüfstelle", rng.choice(TOWNS), "Kundenbesuch", "318,40")
    for row, (label, value) in enumerate(zip(labels, values, strict=True)):
        y = 740 - 40 * row
        pen.text(60, y, label, 10)
        pen.box(150, y - 6, 330, 20, 0.94)
        look = Pen()
        look.text(2, 6, value, 10)
        size = b"/Type/XObject/Subtype/Form/BBox[0 0 330 20]"
        drawn = book.file.add(stream(look.content(), size + book.resources))
        entries = (utf16_literal(label), utf16_literal(value), y - 6, y + 14, reference(drawn))
        fields.append(
            book.file.add(
                b"<</Type/Annot/Subtype/Widget/FT/Tx/F 4/T%s/V%s"
                b"/Rect[150 %d 480 %d]/AP<</N %s>>>>" % entries
            )
        )
    end = pen.block(60, 520, paragraph(rng, 6))
    phrase = "Ort, Datum und Unterschrift"
    pen.text(60, end - 60, phrase, 9)
    book.page(pen, entries=b"/Annots" + references(fields))
    book.catalog_entries = b"/AcroForm<</Fields%s>>" % references(fields)
    return book.finish(), 1, phrase


def contract(rng: random.Random) -> Made:
    """A contract saved in place: its second page was replaced by an update."""
    book = Book("Liefervertrag", "1.4")
    for page in range(1, 5):
        pen = Pen()
        pen.text(60, 790, f"§ {page} Lieferung und Gewährleistung", 13, "F2")
        y = 760.0
        for clause in range(1, 8):
            pen.text(60, y, f"({clause})", 10, "F3")
            y = pen.block(85, y, paragraph(rng, 4), 88) - 8
        book.page(pen)
    original = book.finish()
    phrase = "ersetzt durch den Nachtrag vom 3. März"
    pen = Pen()
    pen.text(60, 790, f"§ 2 {phrase}", 13, "F2")
    pen.block(60, 750, sentence(rng))
    contents = book.file.add(stream(pen.content()))
    page_body = b"<</Type/Page/Parent %s/MediaBox[0 0 595 842]/Contents %s%s>>"
    page_body %= (reference(book.tree), reference(contents), book.resources)
    changed = {contents: book.file.bodies[contents], book.pages[1]: page_body}
    return book.file.update(original, book.catalog, changed), 4, phrase
