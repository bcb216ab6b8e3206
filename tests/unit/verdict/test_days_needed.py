"""Days still needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.compliance_share import PeriodObservation, compute_share_interval, observe_period
from leadline_verdict.days_needed import DAYS_AHEAD_MAX, compute_days_needed
from leadline_verdict.states import MinuteMask

DAY = 1_440


def month(days: int, *lengths: int) -> MinuteMask:
    """Good but for an episode at noon of each of the first days."""
    good = np.ones(days * DAY, dtype=np.bool_)
    for day, length in enumerate(lengths):
        good[day * DAY + 720 : day * DAY + 720 + length] = False
    return good


@pytest.mark.parametrize(("target", "days"), [(0.99, 6), (0.995, 12), (0.999, 62), (0.9999, 624)])
def test_days_after_one_clean_day(target: float, days: int) -> None:
    """6.2, 12.5, 62.4 and 624.1 days without violations are needed in all: one is there, the last is a whole one."""
    assert days == compute_days_needed(observe_period(month(1)), target)


def test_nothing_is_needed_when_it_is_shown() -> None:
    """28 clean days show 99.5 % and more."""
    assert compute_days_needed(observe_period(month(28)), 0.995) == 0


def test_an_episode_takes_days_to_outweigh() -> None:
    """4.744 * 180 / 0.005 windows are 118.6 days; 28 of them are over."""
    assert compute_days_needed(observe_period(month(28, 180)), 0.995) == 91


def test_the_unseen_span_matters() -> None:
    """99.9 % takes 62.4 clean days with 30 windows and 31.2 with 15; 28 are over."""
    clean = observe_period(month(28))

    assert (compute_days_needed(clean, 0.999), compute_days_needed(clean, 0.999, unseen_outage_windows=15)) == (35, 4)


def test_too_far_ahead_is_not_planned() -> None:
    """What 1,000 clean days would not show has no number."""
    assert compute_days_needed(observe_period(month(28)), 0.99999) is None
    assert compute_days_needed(observe_period(~month(28)), 0.999) is None


@pytest.mark.parametrize("target", [0.5, 1.0, 0.0, 99.5])
def test_a_target_is_a_share_above_one_half(target: float) -> None:
    """Below it the rarer state changes sides; 1 is never shown; percent are a mistake."""
    with pytest.raises(ValueError, match="between one half and 1"):
        compute_days_needed(observe_period(month(28)), target)


def extended(observed: PeriodObservation, days: int) -> PeriodObservation:
    more = np.full(days, DAY, dtype=np.int64)
    return PeriodObservation(
        good_by_day=np.concatenate([observed.good_by_day, more]),
        windows_by_day=np.concatenate([observed.windows_by_day, more]),
        bad_spans=observed.bad_spans,
        good_spans=observed.good_spans,
    )


@given(st.lists(st.sampled_from([0, 0, 1, 5, 60, 300, 700]), min_size=2, max_size=14), st.sampled_from([0.9, 0.99]))
def test_it_is_the_first_day_on_which_the_target_is_shown(lengths: list[int], target: float) -> None:
    """After so many clean days the share is demonstrated, and after none fewer: every one of them is tried."""
    observed = observe_period(month(len(lengths), *lengths))
    needed = compute_days_needed(observed, target)
    tried = range(DAYS_AHEAD_MAX if needed is None else needed)

    assert needed is None or compute_share_interval(extended(observed, needed)).low >= target
    assert all(compute_share_interval(extended(observed, days)).low < target for days in tried)


def test_days_that_were_all_alike_are_already_enough() -> None:
    """A clean day would lower their bound by the variance it brings; still nothing is needed."""
    alike = PeriodObservation(
        good_by_day=np.full(14, 1_000, dtype=np.int64),
        windows_by_day=np.full(14, DAY, dtype=np.int64),
        bad_spans=np.full(14, 440, dtype=np.int64),
        good_spans=np.full(15, 500, dtype=np.int64),
    )
    target = compute_share_interval(alike).low

    assert compute_share_interval(extended(alike, 1)).low < target
    assert compute_days_needed(alike, target) == 0
