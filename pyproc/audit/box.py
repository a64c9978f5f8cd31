"""Audit lines for one reader: what they say is sealed to a public key, the chain stays open.

X25519 with a key pair per run of the writer, HKDF-SHA256, ChaCha20-Poly1305; the number of the line
is the nonce and, with the log's name, authenticated beside. Needs `cryptography`.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

from pyproc.audit.chain import dump, read_secret
from pyproc.errors import AuditError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_PUBLIC = "pyproc-audit-recipient:"
_PRIVATE = "pyproc-audit-identity:"


def _need() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise AuditError(
            "encrypted audit logs need cryptography: pip install 'pyproc-native[audit]'"
        ) from None


def _cipher(shared: bytes, epk: bytes) -> ChaCha20Poly1305:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = b"pyproc audit line v1"
    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=epk, info=info).derive(shared))


def keygen() -> tuple[str, str]:
    """(private, public), each the text of a file."""
    _need()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private = X25519PrivateKey.generate()
    return (
        _PRIVATE + base64.b64encode(private.private_bytes_raw()).decode() + "\n",
        _PUBLIC + base64.b64encode(private.public_key().public_bytes_raw()).decode() + "\n",
    )


def _read(data: bytes, prefix: str, path: str) -> bytes:
    text = data.decode("ascii", "replace").strip()
    try:
        if not text.startswith(prefix):
            raise ValueError
        raw = base64.b64decode(text[len(prefix) :], validate=True)
        if len(raw) != 32:
            raise ValueError
    except ValueError:
        raise AuditError(
            f"{path!r} holds no {prefix[:-1]} key; `pyproc audit keygen --encrypt` makes one"
        ) from None
    return raw


class Sealer:
    """The writer's. One thread."""

    def __init__(self, recipient_file: str) -> None:
        _need()
        from cryptography.hazmat.primitives.asymmetric.x25519 import (
            X25519PrivateKey,
            X25519PublicKey,
        )

        try:
            with open(recipient_file, "rb") as file:
                data = file.read(1024)
        except OSError as error:
            raise AuditError(f"{recipient_file!r} cannot be read: {error.strerror}") from None
        public = X25519PublicKey.from_public_bytes(_read(data, _PUBLIC, recipient_file))
        mine = X25519PrivateKey.generate()
        self._epk = mine.public_key().public_bytes_raw()
        self._cipher = _cipher(mine.exchange(public), self._epk)

    def seal(self, log: str, seq: int, fields: dict[str, Any]) -> dict[str, str]:
        """The members that stand for the fields. A number is never used twice with one key: the
        writer's numbers only grow, and each run has a key of its own."""
        nonce = os.urandom(4) + seq.to_bytes(8, "big")
        sealed = nonce + self._cipher.encrypt(nonce, dump(fields), f"{log} {seq}".encode())
        return {
            "epk": base64.b64encode(self._epk).decode(),
            "box": base64.b64encode(sealed).decode(),
        }


class Opener:
    """The reader's. One thread."""

    def __init__(self, identity_file: str) -> None:
        _need()
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        raw = _read(read_secret(identity_file), _PRIVATE, identity_file)
        self._private = X25519PrivateKey.from_private_bytes(raw)
        self._ciphers: dict[str, ChaCha20Poly1305] = {}

    def open(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A line's fields with what was sealed. AuditError: not for this key, or changed."""
        if "box" not in fields:
            return fields
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        try:
            epk = str(fields["epk"])
            if epk not in self._ciphers:
                if len(self._ciphers) > 1000:
                    self._ciphers.clear()
                raw = base64.b64decode(epk, validate=True)
                shared = self._private.exchange(X25519PublicKey.from_public_bytes(raw))
                self._ciphers[epk] = _cipher(shared, raw)
            sealed = base64.b64decode(str(fields["box"]), validate=True)
            aad = f"{fields['log']} {fields['seq']}".encode()
            inner: dict[str, Any] = json.loads(
                self._ciphers[epk].decrypt(sealed[:12], sealed[12:], aad)
            )
        except (ValueError, KeyError, InvalidTag):
            raise AuditError(
                f"line {fields.get('seq')} cannot be opened: it was sealed for another key, or "
                "changed"
            ) from None
        found: dict[str, Any] = {n: of for n, of in fields.items() if n not in ("epk", "box")}
        return found | inner
