"""Tokens and keys: 256 random bits with a prefix; kept and looked up as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

from leadline.wire.admin import ID_LENGTH

KEY_BYTES = 32


class Kind(StrEnum):
    """What a secret is for; it stands in front of it, so that a leaked one can be recognised."""

    AGENT_KEY = "ll_agent_"
    ADMIN_KEY = "ll_admin_"
    TOKEN = "ll_token_"  # noqa: S105 - a prefix


def new_secret(kind: Kind) -> str:
    """A secret nobody can guess."""
    return kind.value + secrets.token_urlsafe(KEY_BYTES)


def sha256_of(secret: str) -> bytes:
    """The form in which a secret is kept."""
    return hashlib.sha256(secret.encode()).digest()


def secret_id(sha256: bytes) -> str:
    """What a secret is called where people read."""
    return sha256.hex()[:ID_LENGTH]
