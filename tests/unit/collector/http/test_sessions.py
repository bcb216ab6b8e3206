"""The cookie of a session: which values are valid."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from leadline_collector.auth.secrets import hash_secret
from leadline_collector.http import sessions

KEY = hash_secret("ll_viewer_0123456789abcdef")
END_S = 1_000


def test_a_signed_cookie_is_valid_until_its_end() -> None:
    """The last second before the end is part of the session; a clock behind the signer's is no obstacle."""
    cookie = sessions.sign(KEY, END_S)

    assert [sessions.is_valid(KEY, cookie, now_s) for now_s in (0, END_S - 1, END_S, END_S + 1)] == [
        True,
        True,
        False,
        False,
    ]


def test_the_key_of_the_signature_has_its_own_purpose() -> None:
    """HMAC-SHA-256 under a key derived from the digest of the viewer key, not under the digest."""
    derived = hmac.digest(KEY, b"leadline session 1", "sha256")

    signature = sessions.sign(KEY, END_S).rpartition(".")[2]

    expected = hmac.new(derived, str(END_S).encode(), hashlib.sha256).digest()
    assert signature == base64.urlsafe_b64encode(expected).decode().rstrip("=")


def test_another_key_did_not_sign_it() -> None:
    """A new viewer key ends every session."""
    assert not sessions.is_valid(hash_secret("ll_viewer_another"), sessions.sign(KEY, END_S), 0)


@pytest.mark.parametrize("end", ["", "x", "-1", "1001", "٣", "9" * 40, "99999999999"])
def test_a_forged_end_is_no_session(end: str) -> None:
    """The signature covers the end; a value that is no number is refused without an error."""
    signature = sessions.sign(KEY, END_S).partition(".")[2]

    assert sessions.is_valid(KEY, f"{END_S}.{signature}", END_S - 1)
    assert not sessions.is_valid(KEY, f"{end}.{signature}", 0)


@pytest.mark.parametrize("position", range(43))
def test_a_tampered_signature_is_no_session(position: int) -> None:
    """Each character of the signature counts."""
    end, _, signature = sessions.sign(KEY, END_S).partition(".")
    # "A" and "g" differ in the highest bit of six: no character of base64 ignores it.
    other = "g" if signature[position] < "a" else "A"
    tampered = signature[:position] + other + signature[position + 1 :]

    assert not sessions.is_valid(KEY, f"{end}.{tampered}", 0)


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        ".",
        "..",
        "1000",
        "1000.",
        ".1000",
        "\x00\xff.\xfe",
        "\u2603.\u2603",
        "1000.=",
        "1000.%%%",
        "x" * 70_000,
        # As collectors wrote it before: a signature in hex, then the end.
        f"{'0' * 64}.1000",
    ],
)
def test_garbage_is_no_session(cookie: str) -> None:
    """It is refused without an error."""
    assert not sessions.is_valid(KEY, cookie, 0)
