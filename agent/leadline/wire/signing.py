"""What a signature is over and how it travels: bytes and text, no cryptography. docs/decisions/0007-signatures.md.

Rule 1: every message begins with a prefix that names what is signed, so that none of one kind passes for another.
Rule 2: a batch is signed as it travels, compressed: the very bytes its digest is over.
"""

from __future__ import annotations

import hashlib
import re

from leadline.wire.admin import SECRET_ID_LENGTH

#: Header of a POST of a batch: ``ed25519 KEY-ID SIGNATURE``, both in hex.
SIGNATURE_HEADER = "Leadline-Signature"
SIGNATURE_ALGORITHM = "ed25519"
#: RFC 8032 §5.1: a public key, and a signature.
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_BATCH_PREFIX = b"leadline batch v1\0"
_KEY_PREFIX = b"leadline signing key v1\0"
_HEADER_PATTERN = re.compile(
    rf"{SIGNATURE_ALGORITHM} ([0-9a-f]{{{SECRET_ID_LENGTH}}}) ([0-9a-f]{{{2 * SIGNATURE_BYTES}}})"
)


def build_batch_message(body: bytes) -> bytes:
    """What is signed for a batch with this body."""
    return _BATCH_PREFIX + body


def build_key_message(agent: str, public_key: bytes) -> bytes:
    """What an agent's key signs to name its successor."""
    return _KEY_PREFIX + agent.encode() + b"\0" + public_key


def derive_key_id(public_key: bytes) -> str:
    """What a public key is called where people read."""
    return hashlib.sha256(public_key).hexdigest()[:SECRET_ID_LENGTH]


def format_header(public_key: bytes, signature: bytes) -> str:
    """The header's value."""
    return f"{SIGNATURE_ALGORITHM} {derive_key_id(public_key)} {signature.hex()}"


def parse_header(text: str) -> tuple[str, bytes] | None:
    """Key id and signature of a header's value; None if it is none."""
    found = _HEADER_PATTERN.fullmatch(text)
    return None if found is None else (found[1], bytes.fromhex(found[2]))
