"""Images of many kinds, painted with Pillow from seeded noise and gradients.

The lossy ones depend on the encoder's version, so that another Pillow makes
other bytes; format, mode, size, frames and orientation are always the same.
"""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image, ImageChops, ImageDraw

ORIENTATION = 0x0112  # the Exif tag


def noise(rng: random.Random, width: int, height: int) -> Image.Image:
    return Image.frombytes("L", (width, height), rng.randbytes(width * height))


def clouds(rng: random.Random, size: tuple[int, int], cells: int) -> Image.Image:
    """Soft grey shapes, `cells` of them across, with a finer layer on top."""
    height = max(2, cells * size[1] // size[0])
    coarse = noise(rng, cells, height).resize(size, Image.Resampling.BICUBIC)
    fine = noise(rng, cells * 5, height * 5).resize(size, Image.Resampling.BILINEAR)
    return Image.blend(coarse, fine, 0.22)


def photo(rng: random.Random, size: tuple[int, int], cells: int = 7) -> Image.Image:
    """A landscape of sorts: a sky that fades, hills, grain."""
    red, green, blue = (clouds(rng, size, cells) for _ in range(3))
    image = Image.merge("RGB", (red, green, blue))
    fade = Image.linear_gradient("L").resize(size)
    image = Image.composite(image, ImageChops.screen(image, image), fade)
    draw = ImageDraw.Draw(image)
    width, height = size
    for layer in range(3):
        base = height * (5 + layer) // 8
        ridge = [(width * step // 24, base - rng.randrange(1 + height // 10)) for step in range(25)]
        draw.polygon(
            [(0, height), *ridge, (width, height)], fill=(30, 80 - 20 * layer, 50 + 10 * layer)
        )
    draw.ellipse((width * 0.7, height * 0.1, width * 0.8, height * 0.1 + width * 0.1), "#ffe9a0")
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned_photo(rng: random.Random, orientation: int) -> bytes:
    """As a camera held on its side stores it: the pixels are turned, Exif says how."""
    turns = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}
    stored = photo(rng, (1200, 1600)).transpose(turns[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Quillfeather"  # Make
    exif[0x0110] = "Demo 1"  # Model
    exif[0x0132] = "2024:05:17 09:30:00"  # DateTime
    return saved(stored, "JPEG", quality=72, exif=exif)


def logo(size: int = 512) -> Image.Image:
    """Rings on a transparent ground, with soft edges."""
    image = Image.new("RGBA", (size * 2, size * 2), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for ring in range(5):
        edge = size * (2 + 4 * ring) // 24
        colour = (200 - 30 * ring, 60 + 25 * ring, 90, 255 - 40 * ring)
        draw.ellipse((edge, edge, size * 2 - edge, size * 2 - edge), fill=colour)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def deep_scan(rng: random.Random) -> bytes:
    """16 bits a pixel, as X-ray and microscope programs write it."""
    width, height = 480, 360
    pixels = (
        (x * 97 + y * 61 + rng.randrange(256)) & 0xFFFF for y in range(height) for x in range(width)
    )
    data = struct.pack(f"<{width * height}H", *pixels)
    return saved(Image.frombytes("I;16", (width, height), data), "PNG")


def palette_chart(rng: random.Random) -> bytes:
    """A bar chart with a palette, one colour of it transparent."""
    image = Image.new("P", (900, 500), 0)
    image.putpalette([channel for n in range(16) for channel in (n * 16, 255 - n * 12, n * 9)])
    draw = ImageDraw.Draw(image)
    for bar in range(30):
        draw.rectangle((bar * 30, 500 - rng.randint(20, 480), bar * 30 + 22, 500), 1 + bar % 15)
    return saved(image, "PNG", transparency=0)


def animation(rng: random.Random) -> bytes:
    frames = []
    for step in range(18):
        frame = Image.new("P", (240, 180), 0)
        frame.putpalette([channel for n in range(8) for channel in (n * 36, 40, 255 - n * 36)])
        draw = ImageDraw.Draw(frame)
        x, y = 10 + 11 * step, 60 + rng.randrange(40)
        draw.ellipse((x, y, x + 30, y + 30), 1 + step % 7)
        frames.append(frame)
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0)


def printed_page(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Grey paper with lines of word-like marks, as a scanner sees a page."""
    width, height = size
    page = Image.new("L", size, 238)
    draw = ImageDraw.Draw(page)
    for y in range(height // 12, height - height // 12, height // 45):
        x = width // 10
        while x < width * 9 // 10:
            word = rng.randint(width // 60, width // 14)
            draw.rectangle((x, y, x + word, y + height // 110), fill=rng.randint(30, 80))
            x += word + width // 70
    grain = noise(rng, width // 2, height // 2).resize(size, Image.Resampling.BILINEAR)
    return Image.blend(page, grain, 0.08)


def fax(rng: random.Random) -> bytes:
    """Two pages in the black and white compression of fax machines."""
    black_or_white = [255 if value > 140 else 0 for value in range(256)]
    pages = [printed_page(rng, (1728, 2200)).point(black_or_white, "1") for _ in range(2)]
    out = io.BytesIO()
    pages[0].save(
        out, "TIFF", compression="group4", save_all=True, append_images=pages[1:], dpi=(204, 196)
    )
    return out.getvalue()


def pixel_bomb(side: int = 13_000) -> bytes:
    """A PNG of a few kB that asks for 161 MiB as it is and 645 MiB in colour.

    The side is chosen to stay below the size from which Pillow itself refuses.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)  # filter byte, then one bit a pixel
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 3, 0, 0, 0)  # one bit, palette
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"PLTE", bytes((20, 30, 40, 250, 240, 230))),
            chunk(b"tRNS", bytes((0, 255))),
            chunk(b"IDAT", data),
            chunk(b"IEND", b""),
        )
    )
