"""Histogram: bins, exact counts, and lossless storage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import RTT_US_MAX
from leadline_collector.rollup import varint
from leadline_collector.rollup.histogram import US_MAX, Histogram, compute_edge_us, find_bins

VALUES = st.lists(st.integers(0, RTT_US_MAX) | st.integers(0, 20_000), max_size=80)
#: One to three significant digits.
EDGES = st.builds(lambda digits, zeros: digits * 10**zeros, st.integers(0, 999), st.integers(0, 4))


def build_histogram(values: list[int]) -> Histogram:
    return Histogram.from_values(np.array(values, np.int32))


def test_up_to_a_millisecond_every_microsecond_has_a_bin() -> None:
    """Bins 0 to 1,000 contain one value each."""
    assert find_bins(np.arange(1_001)).tolist() == list(range(1_001))


def test_a_decade_has_nine_hundred_bins_that_end_at_three_digits() -> None:
    """1,001 to 1,010 µs share a bin, 1,011 begins the next; 10 ms is the last of its decade."""
    assert find_bins(np.array([1_001, 1_010, 1_011, 10_000, 10_001, 10_100])).tolist() == [
        1_001, 1_001, 1_002, 1_900, 1_901, 1_901,
    ]  # fmt: skip
    assert [compute_edge_us(index) for index in (1_000, 1_001, 1_900, 1_901, 2_800)] == [
        1_000,
        1_010,
        10_000,
        10_100,
        100_000,
    ]


def test_the_bins_cover_all_rtts_of_the_wire() -> None:
    """An RTT of a minute has a bin; 100 s is the last edge."""
    last_bin = 1_000 + 5 * 900
    assert int(find_bins(np.array([RTT_US_MAX]))[0]) <= last_bin
    assert (compute_edge_us(last_bin), int(find_bins(np.array([US_MAX]))[0])) == (US_MAX, last_bin)


@pytest.mark.parametrize("value", [-1, US_MAX + 1])
def test_a_value_without_a_bin_is_refused(value: int) -> None:
    """Values below 0 and above the last edge have no bin."""
    with pytest.raises(ValueError, match="outside"):
        build_histogram([value])


@given(st.lists(st.integers(0, US_MAX), min_size=1, max_size=40))
def test_a_value_is_at_most_its_edge_and_above_the_one_before(values: list[int]) -> None:
    """Bins include their upper edge, in the table and computed."""
    for value, index in zip(values, find_bins(np.array(values)).tolist(), strict=True):
        assert value <= compute_edge_us(index)
        assert index == 0 or value > compute_edge_us(index - 1)


@given(VALUES, EDGES)
def test_the_count_at_or_below_three_digits_is_exact(values: list[int], limit_us: int) -> None:
    """Any limit of up to three significant digits is an edge."""
    assert build_histogram(values).count_at_or_below(limit_us) == sum(value <= limit_us for value in values)


def test_a_limit_within_a_bin_has_no_count() -> None:
    """5,001 µs is not on an edge: the count is None, not a guess."""
    assert build_histogram([5_000, 5_002]).count_at_or_below(5_001) is None
    assert build_histogram([5_000, 5_002]).count_at_or_below(5_000) == 1


def test_limits_outside_the_bins() -> None:
    """Above 100 s all values count, below 0 none."""
    assert (build_histogram([1, 2]).count_at_or_below(US_MAX + 1), build_histogram([1, 2]).count_at_or_below(-1)) == (
        2,
        0,
    )


@given(VALUES)
def test_storing_is_lossless(values: list[int]) -> None:
    """decode(encode(h)) equals h."""
    before = build_histogram(values)

    after = Histogram.decode(before.encode())

    assert (after.bins.tolist(), after.counts.tolist()) == (before.bins.tolist(), before.counts.tolist())


def test_an_hour_of_a_quiet_path_is_a_few_hundred_bytes() -> None:
    """3,600 RTTs within a tenth of a millisecond take two bytes per bin."""
    values = 20_000 + np.random.default_rng(7).exponential(40, 3_600).astype(np.int32)

    histogram = Histogram.from_values(values)

    assert len(histogram.encode()) <= 3 * len(histogram.bins) + 1 <= 200


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=40))
def test_varints_of_any_length_are_lossless(values: list[int]) -> None:
    """They take one to nine bytes."""
    assert varint.decode(varint.encode(np.array(values, np.int64))).tolist() == values


def test_a_truncated_varint_is_refused() -> None:
    """The top bit of the last byte announces another byte."""
    with pytest.raises(ValueError, match="truncated"):
        varint.decode(b"\x01\x80")
