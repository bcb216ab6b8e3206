"""Validation of session cookies."""

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
    """The last second before the end is valid; so is a cookie from a collector with a clock ahead."""
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


def test_a_new_viewer_key_invalidates_cookies() -> None:
    """Every session ends."""
    assert not sessions.is_valid(hash_secret("ll_viewer_another"), sessions.sign(KEY, END_S), 0)


@pytest.mark.parametrize("end", ["", "x", "-1", "1001", "٣", "9" * 40, "99999999999"])
def test_a_forged_end_is_invalid(end: str) -> None:
    """The signature covers the end; a value that is not a number raises no error."""
    signature = sessions.sign(KEY, END_S).partition(".")[2]

    assert sessions.is_valid(KEY, f"{END_S}.{signature}", END_S - 1)
    assert not sessions.is_valid(KEY, f"{end}.{signature}", 0)


@pytest.mark.parametrize("position", range(43))
def test_a_tampered_signature_is_invalid(position: int) -> None:
    """A change of any character of the signature is detected."""
    end, _, signature = sessions.sign(KEY, END_S).partition(".")
    # "A" and "g" differ in the highest of six bits, which base64 never ignores.
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
        # Format of earlier versions: a signature in hex, then the end.
        f"{'0' * 64}.1000",
    ],
)
def test_a_malformed_cookie_is_invalid(cookie: str) -> None:
    """It raises no error."""
    assert not sessions.is_valid(KEY, cookie, 0)
