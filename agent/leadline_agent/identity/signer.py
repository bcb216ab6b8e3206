"""Signing key of the agent. This module imports cryptography on demand, so that unsigned agents do not need it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from leadline.errors import ConfigError, UnavailableError
from leadline.wire import signing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: Length of an Ed25519 private key (RFC 8032 §5.1.5).
SEED_BYTES = 32


class Signer:
    """Signs for one agent. Signatures are deterministic (RFC 8032), so a retry is an identical request."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Signer({signing.derive_key_id(self.public_key)})"

    def build_headers(self, body: bytes) -> dict[str, str]:
        """Return the signature header for a batch with this body."""
        return {
            signing.SIGNATURE_HEADER: signing.format_header(
                self.public_key, self._key.sign(signing.build_batch_message(body))
            )
        }

    def endorse(self, agent: str, successor: bytes) -> bytes:
        """Return the signature that makes ``successor`` (a public key) the successor of this key."""
        return self._key.sign(signing.build_key_message(agent, successor))


def generate_seed() -> str:
    """Return a new private key, in hex."""
    return secrets.token_hex(SEED_BYTES)


def load_signer(seed: str) -> Signer:
    """Return the signer for a private key in hex.

    Raise UnavailableError if the ``signing`` extra is not installed, ConfigError if the key is invalid.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"signing needs {error.name}, which is not installed: pip install 'leadline[signing]'"
        ) from error
    try:
        return Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
    except ValueError as error:  # The text of this error may contain the key.
        raise ConfigError(
            "signing_key", "the credential contains no valid Ed25519 key: enrol this agent again"
        ) from error
