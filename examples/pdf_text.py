"""Text out of PDF files by pypdf, each file in a sandboxed worker with limits.

    python examples/pdf_text.py [FILE...]

Without files it makes three: a good one, a broken one and one that never ends.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pyproc

app = pyproc.App()


@app.expose
def text_of(data: bytes) -> list[str]:
    """The text of each page."""
    import pypdf

    if data.startswith(b"%SLOW"):  # stands for a file that sends the parser round in circles
        time.sleep(3600)
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages]


def make_pdf(words: str) -> bytes:
    """A PDF of one page."""
    drawing = f"BT /F1 24 Tf 72 720 Td ({words}) Tj ET".encode()
    fonts = b"/Resources << /Font << /F1 5 0 R >> >>"
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R %s >>" % fonts,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, body in enumerate(bodies, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    out.write(end % (len(bodies) + 1, table))
    return out.getvalue()


def main() -> None:
    """Prints a line for each file."""
    files = {name: Path(name).read_bytes() for name in sys.argv[1:]} or {
        "good.pdf": make_pdf("Hello from a worker"),
        "broken.pdf": b"%PDF-1.4 nothing follows",
        "slow.pdf": b"%SLOW",
    }
    limits = pyproc.Limits(memory="512MiB")
    with pyproc.Pool(Path(__file__), workers=2, limits=limits, sandbox="baseline") as pool:
        calls = pool.options(timeout=20 if len(sys.argv) > 1 else 5)
        for name, result in zip(
            files, calls.map("text_of", files.values(), return_exceptions=True), strict=True
        ):
            if isinstance(result, Exception):
                print(f"{name}: {type(result).__name__}")
            else:
                print(f"{name}: {result[0].strip()!r}")


if __name__ == "__main__":
    main()
