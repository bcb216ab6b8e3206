"""Expected number of wrong claims among many (method.md §4.4)."""

from __future__ import annotations


def expected_wrong_claims(claims: int, error_ratio: float = 0.05) -> float:
    """Return the upper bound of the mean number of wrong claims if each is wrong with at most ``error_ratio``.

    Valid for dependent claims as well: an expectation needs no independence.
    """
    return claims * error_ratio
