"""Makes the demo's input files.

    python examples/demo/make_inputs.py [--output DIR] [--seed N]

Needs Pillow only. The same seed gives the same documents: text, pages, pixels
and structure. Compressed bytes may differ between versions of zlib and Pillow,
therefore the files in `inputs/` are part of the repository.

`expected.json` says of each file what a reader of it must find; whatever is in
`hostile/` must fail, and the errors that count as such a failure are named.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

from maker import bombs, business, pictures, publications
from PIL import Image

HERE = Path(__file__).resolve().parent
Expected = dict[str, object]


def rng_for(seed: int, name: str) -> random.Random:
    """Each file has a generator of its own: one more file does not change the others."""
    return random.Random(f"{seed} {name}")


def scanned_pages(rng: random.Random) -> list[tuple[bytes, int, int]]:
    size = (1240, 1754)  # A4 at 150 dots per inch
    pages = [pictures.printed_page(rng, size) for _ in range(4)]
    return [(pictures.saved(page, "JPEG", quality=55), *size) for page in pages]


def documents(seed: int) -> Iterator[tuple[str, business.Made]]:
    def rng(name: str) -> random.Random:
        return rng_for(seed, name)

    for number, german, positions in (
        (20240117, True, 7),
        (20240118, True, 58),
        (90211, False, 12),
        (90212, False, 140),
    ):
        name = f"invoice-{number}.pdf"
        yield name, business.invoice(rng(name), number, german, positions)
    for language in ("de", "fr", "sv"):
        name = f"letter-{language}.pdf"
        yield name, business.letter(rng(name), language)
    yield "letter-world.pdf", business.world_letter()
    for pages, layout in ((12, "table"), (40, "object streams"), (90, "table")):
        name = f"report-{pages}.pdf"
        yield name, publications.report(rng(name), pages, layout)
    yield "price-list.pdf", business.price_list(rng("price-list"), 34)
    yield "slides.pdf", publications.slides(rng("slides"), 16)
    yield "scan.pdf", publications.scan(rng("scan"), scanned_pages(rng("scanned pages")))
    for kind in (business.statement, business.form, business.contract):
        yield f"{kind.__name__}.pdf", kind(rng(kind.__name__))
    for kind in (
        publications.rotated,
        publications.newsletter,
        publications.map_sheet,
        publications.drawing,
        publications.encrypted,
        publications.damaged,
    ):
        name = kind.__name__.replace("_", "-")
        yield f"{name}.pdf", kind(rng(name))


def images(seed: int) -> Iterator[tuple[str, bytes]]:
    def rng(name: str) -> random.Random:
        return rng_for(seed, name)

    yield "camera-upright.jpg", pictures.turned_photo(rng("upright"), 6)
    yield "camera-upside-down.jpg", pictures.turned_photo(rng("upside down"), 3)
    large = pictures.photo(rng("large"), (6000, 4000), 9)
    yield "photo-24-megapixels.jpg", pictures.saved(large, "JPEG", quality=60)
    medium = pictures.photo(rng("medium"), (1024, 768))
    yield "photo-progressive.jpg", pictures.saved(medium, "JPEG", quality=80, progressive=True)
    yield "photo-grey.jpg", pictures.saved(medium.convert("L"), "JPEG", quality=70)
    yield "photo-print-cmyk.jpg", pictures.saved(medium.convert("CMYK"), "JPEG", quality=60)
    yield "photo.webp", pictures.saved(medium, "WEBP", quality=60)
    small = medium.resize((320, 240))
    yield "photo.tiff", pictures.saved(small, "TIFF", compression="tiff_adobe_deflate")
    yield "photo.bmp", pictures.saved(small.resize((160, 120)), "BMP")
    yield "logo.png", pictures.saved(pictures.logo(), "PNG")
    yield "sticker.webp", pictures.saved(pictures.logo(256), "WEBP", lossless=True)
    yield "favicon.ico", pictures.saved(pictures.logo(64), "ICO", sizes=[(16, 16), (48, 48)])
    yield "microscope-16-bit.png", pictures.deep_scan(rng("deep"))
    yield "chart-palette.png", pictures.palette_chart(rng("palette"))
    bilevel = medium.convert("1", dither=Image.Dither.FLOYDSTEINBERG)
    yield "newsprint-1-bit.png", pictures.saved(bilevel, "PNG")
    yield "animation.gif", pictures.animation(rng("animation"))
    yield "fax-two-pages.tiff", pictures.fax(rng("fax"))
    banner = pictures.photo(rng("banner"), (3000, 40), 90)
    yield "banner-very-wide.png", pictures.saved(banner.quantize(32), "PNG")


def describe(name: str, data: bytes) -> Expected:
    with Image.open(io.BytesIO(data)) as image:
        frames = getattr(image, "n_frames", 1)
        return {"kind": image.format, "size": list(image.size), "frames": frames}


def make(output: Path, seed: int) -> dict[str, Expected]:
    """Writes all the files below `output`; gives what is expected of each."""
    (output / "hostile").mkdir(parents=True, exist_ok=True)
    expected: dict[str, Expected] = {}
    for name, (data, pages, phrase) in documents(seed):
        (output / name).write_bytes(data)
        expected[name] = {"kind": "PDF", "pages": pages, "phrase": phrase}
    for name, data in images(seed):
        (output / name).write_bytes(data)
        expected[name] = describe(name, data)
    (output / "hostile/operator-bomb.pdf").write_bytes(bombs.operator_bomb())
    expected["hostile/operator-bomb.pdf"] = {"kind": "PDF", "fails": ["TaskTimeout"]}
    (output / "hostile/pixel-bomb.png").write_bytes(pictures.pixel_bomb())
    expected["hostile/pixel-bomb.png"] = {"kind": "PNG", "fails": ["MemoryError", "WorkerDied"]}
    text = json.dumps({"pyproc demo": expected}, indent=1, ensure_ascii=False, sort_keys=True)
    (output / "expected.json").write_text(text + "\n", encoding="utf-8")
    return expected


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the demo's input files.")
    parser.add_argument("--output", type=Path, default=HERE / "inputs")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    expected = make(options.output, options.seed)
    total = sum((options.output / name).stat().st_size for name in expected)
    print(f"{len(expected)} files, {total / 1e6:.1f} MB, in {options.output}")


if __name__ == "__main__":
    main()
