"""Names, sentences and figures for the documents, drawn from small word lists."""

from __future__ import annotations

import random

SUBJECTS = (
    "The northern depot", "Our laboratory", "The second shift", "A returning customer",
    "The pump station", "Each regional office", "The night ferry", "The survey team",
    "A small workshop", "The harbour authority", "Every third delivery", "The archive",
)  # fmt: skip
VERBS = (
    "reported", "measured", "replaced", "accepted", "returned", "counted", "shipped",
    "inspected", "postponed", "repaired", "catalogued", "compared",
)  # fmt: skip
OBJECTS = (
    "forty crates of bearings", "the spring inventory", "two sets of drawings",
    "the humidity readings", "a revised estimate", "the copper fittings",
    "nine hundred labels", "the calibration records", "an unusual vibration",
    "the insurance papers", "a box of glass slides", "the winter timetable",
)  # fmt: skip
ENDINGS = (
    "before the frost set in", "without a written order", "at the agreed price",
    "in spite of the strike", "within the tolerance of the instrument",
    "after the second reminder", "for the third year in a row", "on a rainy Thursday",
    "although the lift was out of service", "under the supervision of the port",
)  # fmt: skip
ARTICLES = (
    ("Kugellager 6204", "Ball bearing 6204"), ("Dichtungssatz für Pumpe", "Pump seal kit"),
    ("Prüfgerät, groß", "Test device, large"), ("Kabeltrommel 25 m", "Cable reel 25 m"),
    ("Schraubenschlüssel", "Wrench"), ("Öl für Getriebe, 5 l", "Gear oil, 5 l"),
    ("Überspannungsschutz", "Surge protector"), ("Maßband 10 m", "Tape measure 10 m"),
    ("Gehäuse, weiß", "Housing, white"), ("Ersatzfühler", "Spare probe"),
)  # fmt: skip
COMPANIES = (
    "Möwe & Söhne Maschinenbau", "Bjørnstad Instruments", "Peña Hermanos",
    "Atelier Lefèvre", "Quillfeather Ltd.", "Zürcher Fühlertechnik",
)  # fmt: skip
TOWNS = ("Lübeck", "Ålesund", "Logroño", "Besançon", "Whitby", "Winterthur")
CITIES = {
    "Greek": "Θεσσαλονίκη", "Russian": "Архангельск", "Polish": "Łódź i Gdańsk",
    "Czech": "Příbram", "Turkish": "İzmir ve Muğla", "Japanese": "札幌と長崎",
    "Korean": "강릉과 부산", "Ukrainian": "Їжакове й Ґанок", "Vietnamese": "Đà Nẵng",
}  # fmt: skip


def sentence(rng: random.Random) -> str:
    parts = (rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(OBJECTS), rng.choice(ENDINGS))
    return " ".join(parts) + "."


def paragraph(rng: random.Random, sentences: int) -> str:
    return " ".join(sentence(rng) for _ in range(sentences))


def money(cents: int, decimal: str = ",") -> str:
    """1234567 -> 12.345,67 (or 12,345.67)."""
    text = f"{cents / 100:,.2f}"
    return text if decimal == "." else text.translate(str.maketrans(",.", ".,"))
