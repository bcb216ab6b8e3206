"""What a signature is over and how it travels: bytes and text, no cryptography. docs/decisions/0007-signatures.md.

Rule 1: every message begins with a prefix that names what is signed, so that none of one kind passes for another.
Rule 2: a batch is signed as it travels, compressed: the very bytes its digest is over.
"""

from __future__ import annotations

import hashlib
import re

from leadline.wire.admin import ID_LENGTH

#: Header of a POST of a batch: ``ed25519 KEY-ID SIGNATURE``, both in hex.
HEADER = "Leadline-Signature"
ALGORITHM = "ed25519"
#: RFC 8032 §5.1: a public key, and a signature.
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

_BATCH = b"leadline batch v1\0"
_KEY = b"leadline signing key v1\0"
_HEADER = re.compile(rf"{ALGORITHM} ([0-9a-f]{{{ID_LENGTH}}}) ([0-9a-f]{{{2 * SIGNATURE_BYTES}}})")


def batch_message(body: bytes) -> bytes:
    """What is signed for a batch with this body."""
    return _BATCH + body


def key_message(agent: str, public: bytes) -> bytes:
    """What an agent's key signs to name its successor."""
    return _KEY + agent.encode() + b"\0" + public


def key_id(public: bytes) -> str:
    """What a public key is called where people read."""
    return hashlib.sha256(public).hexdigest()[:ID_LENGTH]


def header(public: bytes, signature: bytes) -> str:
    """The header's value."""
    return f"{ALGORITHM} {key_id(public)} {signature.hex()}"


def read_header(text: str) -> tuple[str, bytes] | None:
    """Key id and signature of a header's value; None if it is none."""
    found = _HEADER.fullmatch(text)
    return None if found is None else (found[1], bytes.fromhex(found[2]))
