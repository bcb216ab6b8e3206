"""Hours of the week and validity of a period."""

from __future__ import annotations

import numpy as np
import pytest

from leadline_verdict.hour_of_week import (
    HOURS_PER_WEEK,
    HourOfWeek,
    check_validity,
    count_hours_of_week,
    find_worst_hour,
)
from leadline_verdict.states import MinuteMask

#: Monday 2025-11-03 00:00 UTC.
MONDAY_S = 1_762_128_000
WEEK = 7 * 1_440


def all_minutes(weeks: int) -> MinuteMask:
    return np.ones(weeks * WEEK, dtype=np.bool_)


def test_the_week_starts_on_monday() -> None:
    """The first hour of a period that starts on a Monday has index 0, its last hour has index 167."""
    good = all_minutes(4)
    good[0] = good[-1] = False

    hours = count_hours_of_week(good, all_minutes(4), MONDAY_S)

    assert len(hours) == HOURS_PER_WEEK
    assert [cell.index for cell in hours if cell.good < cell.known] == [0, 167]
    assert (hours[0].weekday, hours[0].hour) == (0, 0)
    assert (hours[167].weekday, hours[167].hour) == (6, 23)


def test_a_period_that_starts_on_thursday() -> None:
    """The epoch was a Thursday: its first hour has index 72."""
    hours = count_hours_of_week(np.ones(60, dtype=np.bool_), np.ones(60, dtype=np.bool_), 0)

    assert [cell.index for cell in hours if cell.windows] == [72]
    assert (hours[72].weekday, hours[72].hour) == (3, 0)


def test_counts_and_ratios_of_an_hour() -> None:
    """Ratios are over the known windows; a visit needs a known window."""
    good, known = all_minutes(4), all_minutes(4)
    known[:60] = False
    known[WEEK : WEEK + 20] = False
    good[WEEK + 30 : WEEK + 40] = False

    cell = count_hours_of_week(good, known, MONDAY_S)[0]

    assert HourOfWeek(index=0, windows=240, known=160, good=150, visits=3) == cell
    assert cell.good_ratio == pytest.approx(150 / 160)
    assert cell.coverage_ratio == pytest.approx(160 / 240)


def test_an_unknown_window_is_not_good() -> None:
    """Only known windows count as good."""
    known = all_minutes(1)
    known[:30] = False

    assert count_hours_of_week(all_minutes(1), known, MONDAY_S)[0].good == 30


def test_the_worst_hour() -> None:
    """The smallest share of good windows, the first of equals; hours without a known window do not count."""
    good, known = all_minutes(4), all_minutes(4)
    for week in range(4):
        known[week * WEEK : week * WEEK + 60] = False
        good[week * WEEK + 600 : week * WEEK + 603] = False
        good[week * WEEK + 1_200 : week * WEEK + 1_203] = False

    worst = find_worst_hour(count_hours_of_week(good, known, MONDAY_S))

    assert worst is not None
    assert (worst.index, worst.good, worst.known) == (10, 228, 240)
    assert find_worst_hour(count_hours_of_week(good, ~all_minutes(4), MONDAY_S)) is None


def test_four_full_weeks_are_valid() -> None:
    """All windows are known, and each hour of the week has four visits."""
    validity = check_validity(count_hours_of_week(all_minutes(4), all_minutes(4), MONDAY_S))

    assert validity.is_valid
    assert (validity.windows, validity.known, validity.low_coverage_hours, validity.low_visit_hours) == (
        40_320,
        40_320,
        (),
        (),
    )


def test_three_weeks_are_too_few_visits() -> None:
    """Three visits of every hour are enough for a provisional verdict only."""
    hours = count_hours_of_week(all_minutes(3), all_minutes(3), MONDAY_S)

    assert len(check_validity(hours).low_visit_hours) == HOURS_PER_WEEK
    assert not check_validity(hours).is_valid
    assert check_validity(hours, visits_needed=2).is_valid


def test_an_hour_needs_four_of_five_windows() -> None:
    """192 known windows of 240 are enough, 191 are not."""
    known = all_minutes(4)
    known[:48] = False
    hours = count_hours_of_week(all_minutes(4), known, MONDAY_S)
    known[48] = False
    one_fewer_hours = count_hours_of_week(all_minutes(4), known, MONDAY_S)

    assert check_validity(hours).is_valid
    assert check_validity(one_fewer_hours).low_coverage_hours == (0,)
    assert not check_validity(one_fewer_hours).is_valid


def test_a_period_needs_nineteen_of_twenty_windows() -> None:
    """2,016 unknown windows of 40,320 are allowed, 2,017 are not; every hour has at least 80 %."""
    known = all_minutes(4)
    known[::20] = False
    at_the_limit = check_validity(count_hours_of_week(all_minutes(4), known, MONDAY_S))
    known[1] = False
    below_the_limit = check_validity(count_hours_of_week(all_minutes(4), known, MONDAY_S))

    assert at_the_limit.is_valid
    assert (below_the_limit.windows - below_the_limit.known, below_the_limit.low_coverage_hours) == (2_017, ())
    assert not below_the_limit.is_valid


def test_an_empty_period_is_not_valid() -> None:
    """No hour has a visit."""
    no_minutes = np.zeros(0, dtype=np.bool_)

    assert not check_validity(count_hours_of_week(no_minutes, no_minutes, 0)).is_valid
