"""Tokens and keys: 256 random bits with a prefix; stored and looked up as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

from leadline.wire.admin import SECRET_ID_LENGTH

KEY_BYTES = 32


class SecretKind(StrEnum):
    """Prefix of a secret, by its purpose, so that a leaked secret is recognisable."""

    AGENT_KEY = "ll_agent_"
    ADMIN_KEY = "ll_admin_"
    TOKEN = "ll_token_"  # noqa: S105 - a prefix


def generate_secret(kind: SecretKind) -> str:
    """Return a new random secret with the prefix of its kind."""
    return kind.value + secrets.token_urlsafe(KEY_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a secret, the form in which it is stored."""
    return hashlib.sha256(secret.encode()).digest()


def get_secret_id(sha256: bytes) -> str:
    """Return the short id of a secret for lists, logs and the audit log."""
    return sha256.hex()[:SECRET_ID_LENGTH]
