"""Parsing and formatting of durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.durations import format_duration, parse_duration_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("100ms", 100), ("10s", 10_000), ("1.5s", 1_500), ("5m", 300_000), ("24h", 86_400_000), (" 28d ", 2_419_200_000)],
)
def test_durations_are_parsed(text: str, ms: int) -> None:
    """A number and a unit."""
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "0s", "0.5ms", "1e3s", "10 s x", "1.2345s", "٣s", "1w"])
def test_invalid_durations_are_refused(text: str) -> None:
    """No unit, no number, empty text, or less than a millisecond."""
    with pytest.raises(ValueError):
        parse_duration_ms(text)


@given(st.integers(1, 10**9))
def test_formatted_durations_parse_to_the_same_value(ms: int) -> None:
    """``format_duration`` is a right inverse of ``parse_duration_ms``."""
    assert parse_duration_ms(format_duration(ms)) == ms
