"""Start times from which a migration fits."""

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


def test_a_migration_takes_whole_windows() -> None:
    """ceil(T / 60): 61 seconds from the start of a window reach into a second one."""
    assert [count_windows_needed(seconds) for seconds in (1, 60, 61, 600)] == [1, 1, 2, 10]
    with pytest.raises(ValueError, match="must be above 0 s"):
        count_windows_needed(0)


@given(minutes, st.integers(1, 12))
def test_usable_starts_are_those_tried_one_by_one(good: MinuteMask, windows: int) -> None:
    """A start is usable when every window from there is good; starts that would leave the period are not counted."""
    by_hand = [bool(good[start : start + windows].all()) for start in range(len(good) - windows + 1)]

    assert by_hand == find_usable_starts(good, windows).tolist()


def test_one_bad_minute_spoils_many_starts() -> None:
    """One bad window of ten takes three of the eight starts of a three-minute migration."""
    assert compute_usable_ratio(good(".....b...."), 3) == pytest.approx(5 / 8)


def test_a_migration_longer_than_the_period_has_no_share() -> None:
    """No start fits, so there is nothing to divide by."""
    assert compute_usable_ratio(good("..."), 4) is None
    assert compute_usable_ratio(good("..."), 3) == 1.0


def test_a_migration_takes_time() -> None:
    """A duration of no window is an error."""
    with pytest.raises(ValueError, match="at least one window"):
        find_usable_starts(good("..."), 0)


@given(st.lists(st.sampled_from([GOOD, BAD, UNKNOWN]), min_size=5, max_size=40), st.integers(1, 5))
def test_the_readings_bracket_the_share(codes: list[int], windows: int) -> None:
    """With unknown taken for bad it is at most what it is with unknown taken for good."""
    states = np.array(codes, dtype=np.uint8)
    both = ScenarioStates(worst_case=states, best_case=states)

    worse = compute_usable_ratio(both.with_unknown_as(BAD).worst_case == GOOD, windows)
    better = compute_usable_ratio(both.with_unknown_as(GOOD).best_case == GOOD, windows)
    assert worse is not None
    assert better is not None
    assert worse <= better


@given(minutes, st.integers(1, 12))
def test_a_longer_migration_never_has_more_starts(good: MinuteMask, windows: int) -> None:
    """Whatever is usable for longer is usable for shorter."""
    assert np.count_nonzero(find_usable_starts(good, windows + 1)) <= np.count_nonzero(
        find_usable_starts(good, windows)
    )


def test_the_longest_stretch() -> None:
    """The first of the longest runs, without any gap; none when nothing is good."""
    assert GoodRun(start=3, windows=2) == find_longest_good_run(good(".bb..b..b"))
    assert find_longest_good_run(good("bb")) is None
    assert find_longest_good_run(good("")) is None


def test_hours_of_the_day() -> None:
    """Two days from 23:00 on with a bad hour every midnight: of 23:00 only the starts that end before it are usable."""
    day = np.ones(2 * 1_440, dtype=np.bool_)
    day[60:120] = day[1_500:1_560] = False

    table = count_hours_of_day(day, 30, start_s=23 * 3_600)

    assert len(table) == 24
    assert HourOfDay(hour=23, starts=120, usable=62) == table[23]
    assert HourOfDay(hour=0, starts=120, usable=0) == table[0]
    assert HourOfDay(hour=1, starts=120, usable=120) == table[1]
    assert HourOfDay(hour=22, starts=91, usable=91) == table[22]
    assert tuple(range(1, 23)) == find_free_hours(table, 0.995)


def test_no_hour_is_free() -> None:
    """Nothing is usable, and an hour without start times is not free."""
    table = count_hours_of_day(np.zeros(120, dtype=np.bool_), 1, start_s=0)

    assert find_free_hours(table, 0.5) == ()
    assert table[2].usable_ratio is None
