"""The agent's signing key: made, used, never shown. cryptography is imported here only, and only to sign."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from leadline.errors import ConfigError, UnavailableError
from leadline.wire import signing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: RFC 8032 §5.1.5: the private half.
SEED_BYTES = 32


class Signer:
    """Signs for one agent. The same bytes always get the same signature (RFC 8032): a retry is the same request."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"Signer({signing.derive_key_id(self.public_key)})"

    def build_headers(self, body: bytes) -> dict[str, str]:
        """What a POST of the batch with this body needs beside its other headers."""
        return {
            signing.SIGNATURE_HEADER: signing.format_header(
                self.public_key, self._key.sign(signing.build_batch_message(body))
            )
        }

    def endorse(self, agent: str, successor: bytes) -> bytes:
        """The signature that makes another public key the successor of this one."""
        return self._key.sign(signing.build_key_message(agent, successor))


def generate_seed() -> str:
    """The private half of a new key, in hex."""
    return secrets.token_hex(SEED_BYTES)


def load_signer(seed: str) -> Signer:
    """The key with this private half; UnavailableError names the extra that is missing."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"signing needs {error.name}, which is not installed: pip install 'leadline[signing]'"
        ) from error
    try:
        return Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
    except ValueError as error:  # its text may show what it could not read
        raise ConfigError("signing_key", "the credential holds no Ed25519 key: enrol this agent again") from error
