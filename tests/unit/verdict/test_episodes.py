"""Runs, episodes and what was measured in them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.episodes import PathEpisodeStats, WindowRuns, compute_episode_stats, find_runs
from leadline_verdict.series import MISSING, PathSeries, make_empty_columns
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN

CODES = {".": GOOD, "b": BAD, "u": UNAVAILABLE, "?": UNKNOWN}


def episodes(text: str) -> WindowRuns:
    """The runs of bad and unavailable windows."""
    return find_runs(np.isin([CODES[letter] for letter in text], [BAD, UNAVAILABLE]))


def spans(found: WindowRuns) -> list[tuple[int, int]]:
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))


def runs_by_hand(bad: list[bool], gap: int) -> list[tuple[int, int]]:
    """One window after the other."""
    found: list[tuple[int, int]] = []
    for at in (index for index, out in enumerate(bad) if out):
        if found and at - found[-1][1] <= gap:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 4))
def test_runs_are_those_found_one_by_one(bad: list[bool], gap: int) -> None:
    """The arrays find what a loop over the windows finds."""
    assert runs_by_hand(bad, gap) == spans(find_runs(np.array(bad, dtype=np.bool_), gap))


def test_a_gap_of_two_belongs_to_the_episode_and_three_end_it() -> None:
    """Runs with two good windows between them are one episode, with three they are two."""
    assert spans(episodes(".bb..b...b")) == [(1, 6), (9, 10)]


def test_unavailable_windows_make_an_episode_with_bad_ones() -> None:
    """Both are out of limit."""
    assert spans(episodes("buubu")) == [(0, 5)]


def test_an_unknown_gap_is_a_gap() -> None:
    """Two unknown windows are bridged and counted, three are not, and none starts or ends an episode."""
    assert spans(episodes("?b??b???b?")) == [(1, 5), (8, 9)]


def test_a_good_period_has_no_episode() -> None:
    """Nor has one of which nothing is known, or an empty one."""
    for text in ("....", "????", ""):
        assert len(episodes(text)) == 0


def test_the_whole_period_can_be_one_episode() -> None:
    """From the first window to the last."""
    assert spans(episodes("bbbb")) == [(0, 4)]


def series(**given_columns: list[int]) -> PathSeries:
    columns = make_empty_columns(len(next(iter(given_columns.values()))))
    columns |= {name: np.array(values, dtype=np.int32) for name, values in given_columns.items()}
    return PathSeries.from_columns(0, columns)


def test_facts_of_an_episode() -> None:
    """The worst p95, the longest round trip and the losses from its start to its end, gaps included."""
    measured = series(
        sent=[60, 60, 60, 60, 60],
        received=[60, 58, 60, 40, 60],
        p95_us=[9_999, 6_000, 4_000, MISSING, 5_000],
        max_us=[9_999, 7_000, 4_100, 8_000, 6_000],
    )

    assert (
        PathEpisodeStats(p95_us_worst=6_000, windows_without_p95=1, rtt_us_max=8_000, sent=240, lost=22),
    ) == compute_episode_stats(episodes(".b.ub"), measured)


def test_facts_of_two_episodes() -> None:
    """What lies between them belongs to neither."""
    measured = series(
        sent=[60, 60, 60, 60, 60],
        received=[60, 59, 58, 57, 0],
        p95_us=[10, 999, 999, 999, MISSING],
        max_us=[20, 999, 999, 999, MISSING],
    )

    assert (
        PathEpisodeStats(p95_us_worst=10, windows_without_p95=0, rtt_us_max=20, sent=60, lost=0),
        PathEpisodeStats(p95_us_worst=None, windows_without_p95=1, rtt_us_max=None, sent=60, lost=60),
    ) == compute_episode_stats(episodes("b...u"), measured)


def test_a_window_that_was_not_sent_has_no_lost_percentile() -> None:
    """A gap nobody measured is not worse than any number: another path of the pair may have known it bad."""
    measured = series(sent=[0], received=[0], p95_us=[MISSING], max_us=[MISSING])

    assert (
        PathEpisodeStats(p95_us_worst=None, windows_without_p95=0, rtt_us_max=None, sent=0, lost=0),
    ) == compute_episode_stats(episodes("b"), measured)


def test_no_episode_has_no_facts() -> None:
    """An empty list of episodes gives an empty list of facts."""
    assert compute_episode_stats(episodes(".."), series(sent=[60, 60])) == ()
