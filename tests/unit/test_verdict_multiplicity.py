"""Many claims at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.multiplicity import holm, wrong_claims_expected

p_values = st.lists(st.floats(0, 1), max_size=8)


def test_holm_by_hand() -> None:
    """The smallest p-value counts for all four, the next for three, and no adjusted value is below one before it."""
    assert pytest.approx(holm([0.01, 0.04, 0.03, 0.005])) == (0.03, 0.06, 0.06, 0.02)


def test_holm_stops_at_one() -> None:
    """A probability is at most 1, and of no claims there are none."""
    assert holm([0.6, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(p_values)
def test_holm_lies_between_nothing_and_bonferroni(values: list[float]) -> None:
    """An adjusted p-value is never below its own and never above the number of claims times it, unless it ties up."""
    adjusted = holm(values)

    assert len(values) == len(adjusted)
    assert all(own <= new <= 1 for own, new in zip(values, adjusted, strict=True))
    assert not values or min(adjusted) == pytest.approx(min(1, len(values) * min(values)))


@given(p_values)
def test_holm_keeps_the_order(values: list[float]) -> None:
    """Who had the smaller p-value has no larger one afterwards."""
    adjusted = holm(values)
    ranked = sorted(range(len(values)), key=values.__getitem__)

    assert [adjusted[index] for index in ranked] == sorted(adjusted)


def test_wrong_claims_of_ten_sites() -> None:
    """45 pairs under three profiles are 135 claims: at most 6.75 of them wrong on average."""
    assert wrong_claims_expected(135) == pytest.approx(6.75)
