"""A small PDF writer.

Objects go in as bytes and get a number; `PdfFile.write` puts them into one of
the layouts that real producers use: a classic cross-reference table, compressed
object streams with a cross-reference stream, or a table with everything
encrypted under an empty user password. Written by hand because the demo needs
layouts that one library alone does not make, and the same bytes on each run.
Not a general library: strings inside dictionaries are not encrypted.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterable

PASSWORD_PADDING = bytes.fromhex(
    "28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a"
)  # ISO 32000-1, 7.6.3.3


def literal(text: str) -> bytes:
    """`text` as a PDF string for a font with WinAnsi encoding."""
    data = text.encode("cp1252")
    for char in (b"\\", b"(", b")"):
        data = data.replace(char, b"\\" + char)
    return b"(" + data + b")"


def utf16_literal(text: str) -> bytes:
    """`text` as a PDF text string, for titles and form values."""
    return b"<" + (b"\xfe\xff" + text.encode("utf-16-be")).hex().encode() + b">"


def reference(number: int) -> bytes:
    return b"%d 0 R" % number


def references(numbers: Iterable[int]) -> bytes:
    return b"[" + b" ".join(map(reference, numbers)) + b"]"


def stream(data: bytes, entries: bytes = b"", encoding: str = "flate") -> bytes:
    """A stream object; `encoding` is flate, flate+ascii85, hex or none."""
    if encoding == "flate":
        data, filters = zlib.compress(data, 9), b"/Filter/FlateDecode"
    elif encoding == "flate+ascii85":
        data = base64.a85encode(zlib.compress(data, 9), wrapcol=72) + b"~>"
        filters = b"/Filter[/ASCII85Decode/FlateDecode]"
    elif encoding == "hex":
        data, filters = data.hex().encode() + b">", b"/Filter/ASCIIHexDecode"
    elif encoding == "none":
        filters = b""
    else:
        raise ValueError(f"unknown encoding: {encoding!r}")
    return b"<<%s%s/Length %d>>stream\n%s\nendstream" % (entries, filters, len(data), data)


def rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) & 255
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) & 255
        j = (j + state[i]) & 255
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) & 255])
    return bytes(out)


def md5(data: bytes, more_rounds: int = 0) -> bytes:
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    for _ in range(more_rounds):
        digest = hashlib.md5(digest, usedforsecurity=False).digest()
    return digest


class Encryption:
    """The standard handler's revision 3 (128-bit RC4), user password empty."""

    PERMISSIONS = -44  # printing and copying allowed

    def __init__(self, owner_password: bytes, file_id: bytes) -> None:
        self.file_id = file_id
        owner_key = md5((owner_password + PASSWORD_PADDING)[:32], 50)
        self.owner = self._in_twenty_rounds(owner_key, PASSWORD_PADDING)
        permissions = struct.pack("<i", self.PERMISSIONS)
        self.key = md5(PASSWORD_PADDING + self.owner + permissions + file_id, 50)
        check = md5(PASSWORD_PADDING + file_id)
        self.user = self._in_twenty_rounds(self.key, check) + bytes(16)

    @staticmethod
    def _in_twenty_rounds(key: bytes, data: bytes) -> bytes:
        for turn in range(20):
            data = rc4(bytes(byte ^ turn for byte in key), data)
        return data

    def dictionary(self) -> bytes:
        return b"<</Filter/Standard/V 2/R 3/Length 128/P %d/O<%s>/U<%s>>>" % (
            self.PERMISSIONS,
            self.owner.hex().encode(),
            self.user.hex().encode(),
        )

    def apply(self, number: int, body: bytes) -> bytes:
        """Encrypts the stream of an object, if it has one; the length stays."""
        start = body.find(b"stream\n")
        if start < 0:
            return body
        start += len(b"stream\n")
        end = body.rindex(b"\nendstream")
        key = md5(self.key + struct.pack("<I", number)[:3] + b"\0\0")
        return body[:start] + rc4(key, body[start:end]) + body[end:]


class PdfFile:
    """Collects numbered objects and writes them out."""

    def __init__(self, version: str = "1.7") -> None:
        self.version = version
        self.bodies: dict[int, bytes] = {}
        self._next = 1

    def reserve(self) -> int:
        """A number for an object whose bytes come later, by `put`."""
        number = self._next
        self._next += 1
        return number

    def put(self, number: int, body: bytes) -> int:
        self.bodies[number] = body
        return number

    def add(self, body: bytes) -> int:
        return self.put(self.reserve(), body)

    def write(self, root: int, layout: str = "table", info: int | None = None) -> bytes:
        """The whole file; `layout` is table, object streams or encrypted."""
        head = f"%PDF-{self.version}\n%".encode() + b"\xe2\xe3\xcf\xd3\n"
        trailer = b"/Root %d 0 R" % root
        if info is not None:
            trailer += b"/Info %d 0 R" % info
        if layout == "object streams":
            return self._write_object_streams(head, trailer)
        if layout == "encrypted":
            return self._write_encrypted(head, trailer)
        return self._write_table(head, trailer, self.bodies)

    def update(self, original: bytes, root: int, changed: dict[int, bytes]) -> bytes:
        """Appends new versions of objects, as an editor that saves in place does."""
        previous = int(original[original.rindex(b"startxref") + 9 :].split()[0])
        trailer = b"/Root %d 0 R/Prev %d" % (root, previous)
        return self._write_table(original, trailer, changed, whole=False)

    def _write_table(
        self, head: bytes, trailer: bytes, bodies: dict[int, bytes], whole: bool = True
    ) -> bytes:
        out = bytearray(head)
        offsets = {}
        for number, body in sorted(bodies.items()):
            offsets[number] = len(out)
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        start = len(out)
        out += b"xref\n"
        if whole:  # one section, numbers without a gap
            out += b"0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
        for number, offset in offsets.items():
            out += b"" if whole else b"%d 1\n" % number
            out += b"%010d 00000 n \n" % offset
        out += b"trailer\n<</Size %d%s>>\nstartxref\n%d\n%%%%EOF\n" % (self._next, trailer, start)
        return bytes(out)

    def _write_encrypted(self, head: bytes, trailer: bytes) -> bytes:
        encryption = Encryption(b"the owner's password", md5(b"pyproc demo"))
        bodies = {n: encryption.apply(n, body) for n, body in self.bodies.items()}
        number = self.reserve()
        bodies[number] = encryption.dictionary()
        file_id = encryption.file_id.hex().encode()
        trailer += b"/Encrypt %d 0 R/ID[<%s><%s>]" % (number, file_id, file_id)
        return self._write_table(head, trailer, bodies)

    def _write_object_streams(self, head: bytes, trailer: bytes) -> bytes:
        out = bytearray(head)
        rows: dict[int, tuple[int, int, int]] = {0: (0, 0, 65535)}
        plain = [n for n in sorted(self.bodies) if b"stream\n" not in self.bodies[n]]
        packed: dict[int, bytes] = {}
        for first in range(0, len(plain), 100):
            members = plain[first : first + 100]
            holder = self.reserve()
            for index, number in enumerate(members):
                rows[number] = (2, holder, index)
            packed[holder] = self._object_stream(members)
        streams = {n: body for n, body in self.bodies.items() if n not in rows}
        for number, body in sorted((streams | packed).items()):
            rows[number] = (1, len(out), 0)
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        number, start = self.reserve(), len(out)
        rows[number] = (1, start, 0)
        table = b"".join(struct.pack(">BIH", *rows[n]) for n in range(self._next))
        entries = b"/Type/XRef/Size %d/W[1 4 2]%s" % (self._next, trailer)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, stream(table, entries))
        out += b"startxref\n%d\n%%%%EOF\n" % start
        return bytes(out)

    def _object_stream(self, members: list[int]) -> bytes:
        index, bodies = bytearray(), bytearray()
        for number in members:
            index += b"%d %d " % (number, len(bodies))
            bodies += self.bodies[number] + b" "
        entries = b"/Type/ObjStm/N %d/First %d" % (len(members), len(index))
        return stream(bytes(index + bodies), entries)
