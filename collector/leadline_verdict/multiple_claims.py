"""What many claims at once do to the confidence in each (method.md §4.4)."""

from __future__ import annotations


def expected_wrong_claims(claims: int, error_ratio: float = 0.05) -> float:
    """At most so many of the claims are wrong on average, if each is wrong with at most ``error_ratio``.

    Also where they hang together: an expectation asks for no independence.
    """
    return claims * error_ratio
