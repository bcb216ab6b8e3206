"""What many claims at once do to the confidence in each (method.md §4.4)."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the order given (Holm 1979): for statements of the kind "at least one of these"."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def wrong_claims_expected(claims: int, error_ratio: float = 0.05) -> float:
    """At most so many of the claims are wrong on average, if each is wrong with at most ``error_ratio``.

    Also where they hang together: an expectation asks for no independence.
    """
    return claims * error_ratio
