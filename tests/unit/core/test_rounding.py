"""Rounding of bounds and shares."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leadline.rounding import (
    format_nominal_percent,
    format_percent,
    format_percent_of,
    round_down,
    round_up,
)


@pytest.mark.parametrize(
    ("ratio", "down", "up"),
    [
        (0.9949996, "99.499", "99.500"),
        (0.9999999, "99.999", "99.99999"),
        (0.999999999999, "99.999", "99.9999999999"),
        (1e-7, "0.00001", "0.001"),
        (1e-5, "0.001", "0.001"),
        (3e-30, "3e-28", "0.001"),
        (0.995, "99.500", "99.500"),
        (0.57, "57.000", "57.000"),
        (0.29, "29.000", "29.000"),
        (0.0, "0.000", "0.000"),
        (1.0, "100.000", "100.000"),
    ],
)
def test_bounds_are_rounded_outward(ratio: float, down: str, up: str) -> None:
    """A lower bound is rounded down, an upper bound up; 0 and 100 mean exactly that."""
    assert (format_percent(ratio), format_percent(ratio, up=True)) == (down, up)


@example(5e-324, 0)
@given(st.floats(0, 1), st.integers(0, 4))
def test_printed_bounds_are_true(ratio: float, decimals: int) -> None:
    """The printed number is on the right side, and 0 or 100 only if the ratio is."""
    low, high = (float(format_percent(ratio, decimals, up=up)) / 100 for up in (False, True))
    assert low <= ratio * (1 + 1e-15)
    assert high >= ratio * (1 - 1e-15)
    for text in (format_percent(ratio, decimals), format_percent(ratio, decimals, up=True)):
        assert (float(text) == 0) is (ratio == 0)
        assert (Fraction(text) == 100) is (ratio == 1)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 3))
def test_shares_of_counts_are_rounded_down(part: int, whole: int, decimals: int) -> None:
    """Exact, without floats."""
    part = min(part, whole)
    text = format_percent_of(part, whole, decimals)
    assert 0 <= Fraction(100 * part, whole) - Fraction(text) < Fraction(1, 10**decimals)
    assert (Fraction(text) == 100) is (part == whole)
    assert (Fraction(text) == 0) is (part == 0)


def test_a_bound_prints_apart_from_what_it_misses() -> None:
    """ "99.500, below the target of 99.500" contradicts itself; equal values print equal."""
    assert format_percent(0.9949996, up=True, apart_from=0.995) == "99.49996"
    assert format_percent(0.00100000004, apart_from=0.001) == "0.100000004"
    assert format_percent(0.995, up=True, apart_from=0.995) == "99.500"


@pytest.mark.parametrize(
    ("ratio", "decimals", "text"),
    [(0.995, 0, "99.5"), (0.995, 3, "99.500"), (0.9999999, 3, "99.99999"), (0.9, 0, "90"), (1e-7, 3, "0.00001")],
)
def test_given_ratios_are_not_rounded(ratio: float, decimals: int, text: str) -> None:
    """A target prints as it was given."""
    assert format_nominal_percent(ratio, decimals) == text


def test_numbers_keep_their_decimals() -> None:
    """Also negative numbers are rounded outward."""
    assert (str(round_down(4.7139, 2)), str(round_up(4.7131, 2))) == ("4.71", "4.72")
    assert (str(round_down(-0.001, 2)), str(round_up(1.1, 2))) == ("-0.01", "1.10")
    assert f"{round_down(1234.99, 0):,}" == "1,234"
