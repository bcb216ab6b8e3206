"""Signatures of the agent and their key."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from leadline.errors import ConfigError
from leadline.wire import signing
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.identity.signer import generate_seed, load_signer
from leadline_agent.identity.state_dir import Credential

#: RFC 8032 §7.1, test 1.
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_public_key_matches_the_private_key() -> None:
    """The key pair is that of RFC 8032; two generated keys differ."""
    assert load_signer(SEED).public_key.hex() == PUBLIC
    assert load_signer(generate_seed()).public_key != load_signer(generate_seed()).public_key


def test_the_same_bytes_get_the_same_signature() -> None:
    """A retry has the same signature; other bytes get another one."""
    first, second, other = (load_signer(SEED).build_headers(body) for body in (b"body", b"body", b"Body"))

    assert first == second
    assert first != other


def test_signature_covers_prefix_and_body() -> None:
    """The header contains the key id and the signature of prefix and body; the body alone does not verify."""
    key = load_signer(SEED)
    header = signing.parse_header(key.build_headers(b"body")[signing.SIGNATURE_HEADER])

    assert header is not None
    assert header[0] == signing.derive_key_id(key.public_key)
    Ed25519PublicKey.from_public_bytes(key.public_key).verify(header[1], b"leadline batch v1\0body")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(header[1], b"body")


@pytest.mark.parametrize(
    "text", ["", "ed25519", "ed25519 0123456789abcdef", "ed25519 0123456789abcdef " + "0" * 127, "rsa x y"]
)
def test_invalid_signature_header_is_refused(text: str) -> None:
    """A header in any other form is refused."""
    assert signing.parse_header(text) is None
    assert signing.parse_header("ed25519 0123456789abcdef " + "0" * 128 + "\n") is None


def test_private_key_is_in_no_repr() -> None:
    """No repr of the credential, the signer or the headers contains a secret."""
    credential = Credential(collector="", agent="a", site="s", key="ll_secret", signing_key=SEED)
    texts = [
        repr(credential),
        str(credential.__rich_repr__()),
        repr(load_signer(SEED)),
        repr(load_signer(SEED).build_headers(b"x")),
    ]

    assert not [text for text in texts if SEED in text or "ll_secret" in text]


def test_invalid_key_is_not_in_the_error() -> None:
    """The error contains the remedy and not the key."""
    with pytest.raises(ConfigError, match="enrol this agent again") as caught:
        load_signer("9d61b1")

    assert "9d61b1" not in str(caught.value)


def test_an_agent_without_a_signing_key_sends_no_signature() -> None:
    """The request then has only the bearer key."""
    client = CollectorClient("http://h", Credential(collector="", agent="a", site="s", key="k"))

    assert client._build_headers(b"body") == {"Authorization": "Bearer k"}
