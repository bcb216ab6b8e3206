"""The week as 168 cells, and whether a period has seen enough."""

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


def full(weeks: int) -> MinuteMask:
    return np.ones(weeks * WEEK, dtype=np.bool_)


def test_the_week_starts_on_monday() -> None:
    """The first hour of a period that starts on a Monday is cell 0, its last hour cell 167."""
    good = full(4)
    good[0] = good[-1] = False

    grid = count_hours_of_week(good, full(4), MONDAY_S)

    assert len(grid) == HOURS_PER_WEEK
    assert [cell.index for cell in grid if cell.good < cell.known] == [0, 167]
    assert (grid[0].weekday, grid[0].hour) == (0, 0)
    assert (grid[167].weekday, grid[167].hour) == (6, 23)


def test_a_period_from_thursday_on() -> None:
    """The epoch was a Thursday: its first hour is cell 72."""
    grid = count_hours_of_week(np.ones(60, dtype=np.bool_), np.ones(60, dtype=np.bool_), 0)

    assert [cell.index for cell in grid if cell.windows] == [72]
    assert (grid[72].weekday, grid[72].hour) == (3, 0)


def test_figures_of_a_cell() -> None:
    """Shares are of the known windows; an hour of which nothing is known was not visited."""
    good, known = full(4), full(4)
    known[:60] = False
    known[WEEK : WEEK + 20] = False
    good[WEEK + 30 : WEEK + 40] = False

    cell = count_hours_of_week(good, known, MONDAY_S)[0]

    assert HourOfWeek(index=0, windows=240, known=160, good=150, visits=3) == cell
    assert cell.good_ratio == pytest.approx(150 / 160)
    assert cell.coverage_ratio == pytest.approx(160 / 240)


def test_an_unknown_window_is_not_good() -> None:
    """In the optimistic reading too a cell counts what was known."""
    known = full(1)
    known[:30] = False

    assert count_hours_of_week(full(1), known, MONDAY_S)[0].good == 30


def test_the_worst_hour() -> None:
    """The smallest share of good windows, the first of equals; cells of which nothing is known do not count."""
    good, known = full(4), full(4)
    for week in range(4):
        known[week * WEEK : week * WEEK + 60] = False
        good[week * WEEK + 600 : week * WEEK + 603] = False
        good[week * WEEK + 1_200 : week * WEEK + 1_203] = False

    worst = find_worst_hour(count_hours_of_week(good, known, MONDAY_S))

    assert worst is not None
    assert (worst.index, worst.good, worst.known) == (10, 228, 240)
    assert find_worst_hour(count_hours_of_week(good, ~full(4), MONDAY_S)) is None


def test_four_full_weeks_are_valid() -> None:
    """Everything known, each hour of the week seen four times."""
    found = check_validity(count_hours_of_week(full(4), full(4), MONDAY_S))

    assert found.is_valid
    assert (found.windows, found.known, found.low_coverage_hours, found.low_visit_hours) == (40_320, 40_320, (), ())


def test_three_weeks_are_too_few_visits() -> None:
    """Every hour was seen three times: not four, but enough for a provisional campaign."""
    grid = count_hours_of_week(full(3), full(3), MONDAY_S)

    assert len(check_validity(grid).low_visit_hours) == HOURS_PER_WEEK
    assert not check_validity(grid).is_valid
    assert check_validity(grid, visits_needed=2).is_valid


def test_a_cell_needs_four_windows_of_five() -> None:
    """192 of 240 known are enough, 191 are not."""
    known = full(4)
    known[:48] = False
    grid = count_hours_of_week(full(4), known, MONDAY_S)
    known[48] = False
    one_less = count_hours_of_week(full(4), known, MONDAY_S)

    assert check_validity(grid).is_valid
    assert check_validity(one_less).low_coverage_hours == (0,)
    assert not check_validity(one_less).is_valid


def test_a_period_needs_nineteen_windows_of_twenty() -> None:
    """Spread so thin that every hour keeps its 80 %: 2,016 unknown windows of 40,320 are allowed, 2,017 are not."""
    known = full(4)
    known[::20] = False
    at_the_limit = check_validity(count_hours_of_week(full(4), known, MONDAY_S))
    known[1] = False
    past_it = check_validity(count_hours_of_week(full(4), known, MONDAY_S))

    assert at_the_limit.is_valid
    assert (past_it.windows - past_it.known, past_it.low_coverage_hours) == (2_017, ())
    assert not past_it.is_valid


def test_an_empty_period_is_not_valid() -> None:
    """Nothing was seen of any hour."""
    nothing = np.zeros(0, dtype=np.bool_)

    assert not check_validity(count_hours_of_week(nothing, nothing, 0)).is_valid
