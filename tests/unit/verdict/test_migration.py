"""Usable start times of migrations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.migration import (
    GoodRun,
    HourOfDay,
    compute_usable_ratio,
    count_hours_of_day,
    count_windows_needed,
    find_free_hours,
    find_longest_good_run,
    find_usable_starts,
)
from leadline_verdict.states import BAD, GOOD, UNKNOWN, MinuteMask, ScenarioStates

minutes = st.lists(st.booleans(), max_size=40).map(lambda values: np.array(values, dtype=np.bool_))


def good(text: str) -> MinuteMask:
    return np.array([letter == "." for letter in text], dtype=np.bool_)


def test_windows_needed_are_rounded_up() -> None:
    """ceil(T / 60): 61 seconds need two windows."""
    assert [count_windows_needed(seconds) for seconds in (1, 60, 61, 600)] == [1, 1, 2, 10]
    with pytest.raises(ValueError, match="must be above 0 s"):
        count_windows_needed(0)


@given(minutes, st.integers(1, 12))
def test_usable_starts_agree_with_a_loop(good: MinuteMask, windows: int) -> None:
    """A start is usable if all windows of the migration are good; late starts are excluded."""
    by_hand = [bool(good[start : start + windows].all()) for start in range(len(good) - windows + 1)]

    assert by_hand == find_usable_starts(good, windows).tolist()


def test_one_bad_minute_affects_several_starts() -> None:
    """One bad window of ten makes three of the eight starts of a three-minute migration unusable."""
    assert compute_usable_ratio(good(".....b...."), 3) == pytest.approx(5 / 8)


def test_a_migration_longer_than_the_period_has_no_ratio() -> None:
    """There is no start time."""
    assert compute_usable_ratio(good("..."), 4) is None
    assert compute_usable_ratio(good("..."), 3) == 1.0


def test_a_migration_of_0_windows_is_refused() -> None:
    """A migration takes at least one window."""
    with pytest.raises(ValueError, match="at least one window"):
        find_usable_starts(good("..."), 0)


@given(st.lists(st.sampled_from([GOOD, BAD, UNKNOWN]), min_size=5, max_size=40), st.integers(1, 5))
def test_the_worst_case_ratio_is_at_most_the_best_case_ratio(codes: list[int], windows: int) -> None:
    """Unknown windows are bad in the worst case and good in the best case."""
    states = np.array(codes, dtype=np.uint8)
    scenario_states = ScenarioStates(worst_case=states, best_case=states, causes=np.zeros_like(states))

    worst_case = compute_usable_ratio(scenario_states.with_unknown_as(BAD).worst_case == GOOD, windows)
    best_case = compute_usable_ratio(scenario_states.with_unknown_as(GOOD).best_case == GOOD, windows)
    assert worst_case is not None
    assert best_case is not None
    assert worst_case <= best_case


@given(minutes, st.integers(1, 12))
def test_a_longer_migration_never_has_more_starts(good: MinuteMask, windows: int) -> None:
    """A start that is usable for a longer migration is usable for a shorter one."""
    assert np.count_nonzero(find_usable_starts(good, windows + 1)) <= np.count_nonzero(
        find_usable_starts(good, windows)
    )


def test_the_longest_good_run() -> None:
    """The first of the longest runs, without gaps; None without a good window."""
    assert GoodRun(start=3, windows=2) == find_longest_good_run(good(".bb..b..b"))
    assert find_longest_good_run(good("bb")) is None
    assert find_longest_good_run(good("")) is None


def test_hours_of_the_day() -> None:
    """Two days from 23:00 with a bad hour from midnight: a start at 23:00 is usable if the migration ends before it."""
    day = np.ones(2 * 1_440, dtype=np.bool_)
    day[60:120] = day[1_500:1_560] = False

    hours = count_hours_of_day(day, 30, start_s=23 * 3_600)

    assert len(hours) == 24
    assert HourOfDay(hour=23, starts=120, usable=62) == hours[23]
    assert HourOfDay(hour=0, starts=120, usable=0) == hours[0]
    assert HourOfDay(hour=1, starts=120, usable=120) == hours[1]
    assert HourOfDay(hour=22, starts=91, usable=91) == hours[22]
    assert tuple(range(1, 23)) == find_free_hours(hours, 0.995)


def test_no_hour_is_free() -> None:
    """No start is usable, and an hour without start times is not free."""
    hours = count_hours_of_day(np.zeros(120, dtype=np.bool_), 1, start_s=0)

    assert find_free_hours(hours, 0.5) == ()
    assert hours[2].usable_ratio is None
