"""Tokens and keys: 256 random bits with a prefix; kept and looked up as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

from leadline.wire.admin import SECRET_ID_LENGTH

KEY_BYTES = 32


class SecretKind(StrEnum):
    """What a secret is for; it stands in front of it, so that a leaked one can be recognised."""

    AGENT_KEY = "ll_agent_"
    ADMIN_KEY = "ll_admin_"
    TOKEN = "ll_token_"


def generate_secret(kind: SecretKind) -> str:
    """A secret nobody can guess."""
    return kind.value + secrets.token_urlsafe(KEY_BYTES)


def hash_secret(secret: str) -> bytes:
    """The form in which a secret is kept."""
    return hashlib.sha256(secret.encode()).digest()


def get_secret_id(sha256: bytes) -> str:
    """What a secret is called where people read."""
    return sha256.hex()[:SECRET_ID_LENGTH]
