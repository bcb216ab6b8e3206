"""Days needed to demonstrate a target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.first_edition.days_needed import DAYS_AHEAD_MAX, compute_days_needed
from leadline_verdict.first_edition.share_interval import PeriodObservation, compute_share_interval, observe_period
from leadline_verdict.states import MinuteMask

DAY = 1_440


def minutes(days: int, *lengths: int) -> MinuteMask:
    """Return good minutes except for an episode at noon of each of the first days."""
    good = np.ones(days * DAY, dtype=np.bool_)
    for day, length in enumerate(lengths):
        good[day * DAY + 720 : day * DAY + 720 + length] = False
    return good


@pytest.mark.parametrize(("target", "days"), [(0.99, 6), (0.995, 12), (0.999, 62), (0.9999, 624)])
def test_days_after_one_good_day(target: float, days: int) -> None:
    """6.2, 12.5, 62.4 and 624.1 good days are needed in total, rounded up; one of them has passed."""
    assert days == compute_days_needed(observe_period(minutes(1)), target)


def test_no_days_are_needed_for_a_demonstrated_target() -> None:
    """28 good days demonstrate more than 99.5 %."""
    assert compute_days_needed(observe_period(minutes(28)), 0.995) == 0


def test_an_episode_increases_the_days() -> None:
    """4.744 * 180 / 0.005 windows are 118.6 days; 28 of them have passed."""
    assert compute_days_needed(observe_period(minutes(28, 180)), 0.995) == 91


def test_the_unseen_outage_affects_the_days() -> None:
    """99.9 % takes 62.4 good days with 30 windows and 31.2 with 15; 28 days have passed."""
    clean = observe_period(minutes(28))

    assert (compute_days_needed(clean, 0.999), compute_days_needed(clean, 0.999, unseen_outage_windows=15)) == (35, 4)


def test_more_than_1000_days_are_none() -> None:
    """The target is not demonstrated by 1,000 good days."""
    assert compute_days_needed(observe_period(minutes(28)), 0.99999) is None
    assert compute_days_needed(observe_period(~minutes(28)), 0.999) is None


@pytest.mark.parametrize("target", [0.5, 1.0, 0.0, 99.5])
def test_a_target_is_a_share_above_one_half(target: float) -> None:
    """Below one half the rarer state changes; 1 cannot be demonstrated; a percentage is not a share."""
    with pytest.raises(ValueError, match="between one half and 1"):
        compute_days_needed(observe_period(minutes(28)), target)


def extend(observation: PeriodObservation, days: int) -> PeriodObservation:
    good_days = np.full(days, DAY, dtype=np.int64)
    return PeriodObservation(
        good_by_day=np.concatenate([observation.good_by_day, good_days]),
        windows_by_day=np.concatenate([observation.windows_by_day, good_days]),
        bad_spans=observation.bad_spans,
        good_spans=observation.good_spans,
    )


@given(st.lists(st.sampled_from([0, 0, 1, 5, 60, 300, 700]), min_size=2, max_size=14), st.sampled_from([0.9, 0.99]))
def test_the_result_is_the_first_day_that_demonstrates_the_target(lengths: list[int], target: float) -> None:
    """The target is demonstrated after the result and after no smaller number of good days."""
    observation = observe_period(minutes(len(lengths), *lengths))
    needed = compute_days_needed(observation, target)
    smaller = range(DAYS_AHEAD_MAX if needed is None else needed)

    assert needed is None or compute_share_interval(extend(observation, needed)).low >= target
    assert all(compute_share_interval(extend(observation, days)).low < target for days in smaller)


def test_identical_days_need_no_more_days() -> None:
    """A good day would lower the bound because it adds variance; the result is 0 nevertheless."""
    identical_days = PeriodObservation(
        good_by_day=np.full(14, 1_000, dtype=np.int64),
        windows_by_day=np.full(14, DAY, dtype=np.int64),
        bad_spans=np.full(14, 440, dtype=np.int64),
        good_spans=np.full(15, 500, dtype=np.int64),
    )
    target = compute_share_interval(identical_days).low

    assert compute_share_interval(extend(identical_days, 1)).low < target
    assert compute_days_needed(identical_days, target) == 0
