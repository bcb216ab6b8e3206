"""The histogram: which value is in which bin, what is exact, and that storing loses nothing."""

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


def of(values: list[int]) -> Histogram:
    """A histogram of these values."""
    return Histogram.from_values(np.array(values, np.int32))


def test_up_to_a_millisecond_every_microsecond_has_a_bin() -> None:
    """0 to 1,000 µs are their own bins."""
    assert find_bins(np.arange(1_001)).tolist() == list(range(1_001))


def test_a_decade_has_nine_hundred_bins_that_end_at_three_digits() -> None:
    """1,001 to 1,010 µs share a bin, 1,011 begins the next; 10 ms is the last of its decade."""
    assert [int(one) for one in find_bins(np.array([1_001, 1_010, 1_011, 10_000, 10_001, 10_100]))] == [
        1_001, 1_001, 1_002, 1_900, 1_901, 1_901,
    ]  # fmt: skip
    assert [compute_edge_us(number) for number in (1_000, 1_001, 1_900, 1_901, 2_800)] == [
        1_000,
        1_010,
        10_000,
        10_100,
        100_000,
    ]


def test_the_last_bin_holds_what_the_wire_lets_through() -> None:
    """A round trip of a minute has a bin; 100 s is the last edge."""
    last_bin = 1_000 + 5 * 900
    assert int(find_bins(np.array([RTT_US_MAX]))[0]) <= last_bin
    assert (compute_edge_us(last_bin), int(find_bins(np.array([US_MAX]))[0])) == (US_MAX, last_bin)


@pytest.mark.parametrize("value", [-1, US_MAX + 1])
def test_what_has_no_bin_is_refused(value: int) -> None:
    """Below 0 and above the last edge."""
    with pytest.raises(ValueError, match="outside"):
        of([value])


@given(st.lists(st.integers(0, US_MAX), min_size=1, max_size=40))
def test_a_value_is_at_most_its_edge_and_above_the_one_before(values: list[int]) -> None:
    """Bins are upper-inclusive, whether looked up or computed."""
    for value, number in zip(values, find_bins(np.array(values)).tolist(), strict=True):
        assert value <= compute_edge_us(number)
        assert number == 0 or value > compute_edge_us(number - 1)


@given(VALUES, EDGES)
def test_the_count_at_or_below_three_digits_is_exact(values: list[int], limit_us: int) -> None:
    """Any limit of up to three significant digits is an edge."""
    assert of(values).count_at_or_below(limit_us) == sum(value <= limit_us for value in values)


def test_a_limit_of_four_digits_is_refused() -> None:
    """5,001 µs lies within a bin: None, and no guess. At 999 µs four digits do not occur."""
    assert of([5_000, 5_002]).count_at_or_below(5_001) is None
    assert of([5_000, 5_002]).count_at_or_below(5_000) == 1


def test_a_limit_beyond_all_bins_has_everything_below_it() -> None:
    """Above 100 s all, below 0 nothing."""
    assert (of([1, 2]).count_at_or_below(US_MAX + 1), of([1, 2]).count_at_or_below(-1)) == (2, 0)


@given(VALUES)
def test_storing_loses_nothing(values: list[int]) -> None:
    """decode(encode(h)) is h."""
    before = of(values)

    after = Histogram.decode(before.encode())

    assert (after.bins.tolist(), after.counts.tolist()) == (before.bins.tolist(), before.counts.tolist())


def test_an_hour_of_a_quiet_path_is_a_few_hundred_bytes() -> None:
    """3,600 probes within a tenth of a millisecond: two bytes a bin."""
    values = 20_000 + np.random.default_rng(7).exponential(40, 3_600).astype(np.int32)

    histogram = Histogram.from_values(values)

    assert len(histogram.encode()) <= 3 * len(histogram.bins) + 1 <= 200


@given(st.lists(st.integers(0, (1 << 63) - 1), max_size=40))
def test_numbers_of_any_length_survive(values: list[int]) -> None:
    """From one byte to nine."""
    assert varint.decode(varint.encode(np.array(values, np.int64))).tolist() == values


def test_a_number_that_is_cut_off_is_refused() -> None:
    """A top bit that promises more."""
    with pytest.raises(ValueError, match="cut off"):
        varint.decode(b"\x01\x80")
