"""Bounds of the second edition: known values, and that they are monotone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.share_bounds import (
    LowerBoundMethod,
    compute_lower_bound,
    compute_upper_bound,
    count_bad_minutes,
    find_tipping_point,
)
from leadline_verdict.states import MinuteMask


def make_bad(days: int, *ranges: tuple[int, int]) -> MinuteMask:
    """Return days with bad minutes in these half-open ranges."""
    bad = np.zeros(days * WINDOWS_PER_DAY, dtype=np.bool_)
    for first, last in ranges:
        bad[first:last] = True
    return bad


def lower(bad: MinuteMask, unseen: int = 30) -> float:
    return compute_lower_bound(count_bad_minutes(bad), unseen).low


def upper(bad: MinuteMask) -> float:
    return compute_upper_bound(count_bad_minutes(bad))


@pytest.mark.parametrize(("days", "is_within"), [(99, False), (100, True)])
def test_99_5_percent_takes_100_clean_days(days: int, is_within: bool) -> None:
    """With an unseen outage of 240 minutes."""
    assert (lower(make_bad(days), 240) >= 0.995) is is_within


def test_28_clean_days_hold_up_to_an_unseen_outage_of_67_minutes() -> None:
    """ln(20) x 67 minutes are less than 0.5 % of 40,320 minutes, with 68 minutes they are more."""
    observed = count_bad_minutes(make_bad(28))

    assert find_tipping_point(observed, 0.995) == 67
    assert find_tipping_point(count_bad_minutes(make_bad(28, (0, 1_440))), 0.995) is None


def test_three_bad_minutes_do_not_demonstrate_more_than_none() -> None:
    """The first edition dropped the unseen outage at three episodes."""
    three = make_bad(28, (100, 101), (20_000, 20_001), (40_000, 40_001))

    assert lower(three) < lower(make_bad(28))
    assert upper(three) > 0.9999


def test_one_bad_minute_fewer_on_an_average_day_never_lowers_the_upper_bound() -> None:
    """The best level is far from that of the normal approximation for these seven days, so all levels are compared."""
    bad_by_day = [167, 170, 164, 198, 164, 179, 158]
    more, fewer = (
        make_bad(7, *((day * WINDOWS_PER_DAY, day * WINDOWS_PER_DAY + bad) for day, bad in enumerate(counts)))
        for counts in (bad_by_day, [*bad_by_day[:3], 197, *bad_by_day[4:]])
    )

    assert upper(fewer) >= upper(more)


def test_ten_dark_days_of_42_are_beyond() -> None:
    """At most 92.8 % of the minutes are good in the long run; the three worst days are left out."""
    assert upper(make_bad(42, (20 * 1_440, 30 * 1_440))) == pytest.approx(0.9284, abs=1e-4)


def test_one_outage_of_two_days_gives_no_upper_bound_near_the_observed_share() -> None:
    """One event is no rate: only the bound by Markov's inequality remains."""
    assert upper(make_bad(28, (14_400, 17_280))) == pytest.approx(1 - 0.02 * 2 / 28)


def test_a_single_dark_day_is_98_percent_at_most() -> None:
    """A path that is good in more than 98 % of the minutes has such a day in less than one of fifty periods."""
    assert upper(make_bad(1, (0, 1_440))) == 0.98
    assert lower(make_bad(1)) == 0


@pytest.mark.parametrize(("days", "is_beyond"), [(1, True), (3, True), (4, False), (28, False)])
def test_one_dark_day_is_beyond_only_if_few_days_were_measured(days: int, is_beyond: bool) -> None:
    """For 99.5 %: at most three days (docs/verdicts.md)."""
    assert (upper(make_bad(days, (0, 1_440))) < 0.995) is is_beyond


@pytest.mark.parametrize(
    ("days", "provisional", "final"),
    [(14, 0.99554, 0.96433), (28, 0.99777, 0.98216), (63, 0.99900, 0.99207), (100, 0.99937, 0.99500)],
)
def test_the_lower_bounds_of_clean_days(days: int, provisional: float, final: float) -> None:
    """The table of docs/verdicts.md, rounded down."""
    for unseen, bound in ((30, provisional), (240, final)):
        assert bound <= lower(make_bad(days), unseen) < bound + 1e-5


def test_a_path_that_is_always_bad_has_an_upper_bound_above_zero() -> None:
    """A good run of 30 minutes may have been missed."""
    assert upper(make_bad(7, (0, 7 * 1_440))) == pytest.approx(2.9957 * 30 / (7 * 1_440), abs=1e-4)


def test_the_method_of_the_lower_bound_is_named() -> None:
    """Many different days decide by days, a clean period by the unseen outage."""
    office = make_bad(28, *((day * 1_440, day * 1_440 + 60) for day in range(28) if day % 7 < 5))

    assert compute_lower_bound(count_bad_minutes(office), 30).method is LowerBoundMethod.KORN_GRAUBARD
    assert compute_lower_bound(count_bad_minutes(make_bad(28)), 30).method is LowerBoundMethod.EPISODES


def test_minutes_that_are_not_counted_are_neither_good_nor_bad() -> None:
    """They lower N."""
    counted = ~make_bad(28, (0, 1_000))

    observed = count_bad_minutes(make_bad(28, (0, 500), (2_000, 2_001)), counted)

    assert (observed.minutes, observed.bad) == (28 * 1_440 - 1_000, 1)


def test_whole_days_are_required() -> None:
    """Days are the clusters."""
    with pytest.raises(ValueError, match="100 windows are not whole days"):
        count_bad_minutes(np.zeros(100, dtype=np.bool_))


bad_ranges = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 1_439), st.sampled_from([1, 2, 3, 5, 8, 60, 400, 1_440])), max_size=12
)


@given(
    ranges=bad_ranges, removed=st.lists(st.tuples(st.integers(0, 14_399), st.integers(1, 50)), min_size=1, max_size=4)
)
def test_fewer_bad_minutes_never_lower_a_bound(
    ranges: list[tuple[int, int, int]], removed: list[tuple[int, int]]
) -> None:
    """Both bounds are monotone in the set of bad minutes, whatever the set is."""
    more = make_bad(10, *((day * 1_440 + minute, day * 1_440 + minute + length) for day, minute, length in ranges))
    fewer = more & ~make_bad(10, *((first, first + length) for first, length in removed))

    for unseen in (30, 240):
        assert lower(fewer, unseen) >= lower(more, unseen) - 1e-9
    assert upper(fewer) >= upper(more) - 1e-5


@given(ranges=bad_ranges)
def test_the_bounds_enclose_the_observed_share(ranges: list[tuple[int, int, int]]) -> None:
    """Lower bound, observed share, upper bound."""
    bad = make_bad(10, *((day * 1_440 + minute, day * 1_440 + minute + length) for day, minute, length in ranges))

    assert lower(bad, 1) <= 1 - bad.mean() <= upper(bad)
