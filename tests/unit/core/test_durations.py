"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.durations import format_duration, parse_duration_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("100ms", 100), ("10s", 10_000), ("1.5s", 1_500), ("5m", 300_000), ("24h", 86_400_000), (" 28d ", 2_419_200_000)],
)
def test_durations(text: str, ms: int) -> None:
    """A number and a unit."""
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "0s", "0.5ms", "1e3s", "10 s x", "1.2345s", "٣s", "1w"])
def test_what_is_no_duration(text: str) -> None:
    """No unit, no number, nothing, or less than a millisecond."""
    with pytest.raises(ValueError):
        parse_duration_ms(text)


@given(st.integers(1, 10**9))
def test_the_text_reads_back(ms: int) -> None:
    """``duration_text`` is a right inverse."""
    assert parse_duration_ms(format_duration(ms)) == ms
