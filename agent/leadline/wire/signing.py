"""Signed messages and the signature header; no cryptography here. See docs/decisions/0007-signatures.md.

Rule 1: every message begins with a prefix for its type, so a signature of one type is not valid for another.
Rule 2: the signature of a batch covers the compressed body, the same bytes as its digest.
"""

from __future__ import annotations

import hashlib
import re

from leadline.wire.admin import SECRET_ID_LENGTH

#: Header of a POST of a batch: ``ed25519 KEY-ID SIGNATURE``, both in hex.
SIGNATURE_HEADER = "Leadline-Signature"
SIGNATURE_ALGORITHM = "ed25519"
#: Sizes of a public key and of a signature (RFC 8032 §5.1).
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_BATCH_PREFIX = b"leadline batch v1\0"
_KEY_PREFIX = b"leadline signing key v1\0"
_HEADER_PATTERN = re.compile(
    rf"{SIGNATURE_ALGORITHM} ([0-9a-f]{{{SECRET_ID_LENGTH}}}) ([0-9a-f]{{{2 * SIGNATURE_BYTES}}})"
)


def build_batch_message(body: bytes) -> bytes:
    """Build the message to sign for a batch with this body."""
    return _BATCH_PREFIX + body


def build_key_message(agent: str, public_key: bytes) -> bytes:
    """Build the message that an agent's current key signs to endorse its successor ``public_key``."""
    return _KEY_PREFIX + agent.encode() + b"\0" + public_key


def derive_key_id(public_key: bytes) -> str:
    """Return the id of a public key for display."""
    return hashlib.sha256(public_key).hexdigest()[:SECRET_ID_LENGTH]


def format_header(public_key: bytes, signature: bytes) -> str:
    """Format the value of ``SIGNATURE_HEADER``."""
    return f"{SIGNATURE_ALGORITHM} {derive_key_id(public_key)} {signature.hex()}"


def parse_header(text: str) -> tuple[str, bytes] | None:
    """Return key id and signature of a ``SIGNATURE_HEADER`` value; None if it is malformed."""
    match = _HEADER_PATTERN.fullmatch(text)
    return None if match is None else (match[1], bytes.fromhex(match[2]))
