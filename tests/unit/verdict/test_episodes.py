"""Runs, episodes and their measurements."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.episodes import PathEpisodeStats, WindowRuns, compute_episode_stats, find_runs
from leadline_verdict.series import MISSING, PathSeries, make_empty_columns
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN

CODES = {".": GOOD, "b": BAD, "u": UNAVAILABLE, "?": UNKNOWN}


def episodes(text: str) -> WindowRuns:
    """Return the runs of bad and unavailable windows."""
    return find_runs(np.isin([CODES[letter] for letter in text], [BAD, UNAVAILABLE]))


def spans(runs: WindowRuns) -> list[tuple[int, int]]:
    return list(zip(runs.starts.tolist(), runs.ends.tolist(), strict=True))


def runs_by_hand(bad: list[bool], gap: int) -> list[tuple[int, int]]:
    """Find runs with a loop over the windows."""
    runs: list[tuple[int, int]] = []
    for position in (index for index, out in enumerate(bad) if out):
        if runs and position - runs[-1][1] <= gap:
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    return runs


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 4))
def test_runs_agree_with_a_loop(bad: list[bool], gap: int) -> None:
    """Random windows and gaps."""
    assert runs_by_hand(bad, gap) == spans(find_runs(np.array(bad, dtype=np.bool_), gap))


def test_an_episode_spans_gaps_of_two_windows() -> None:
    """Runs with two good windows between them are one episode, runs with three are two."""
    assert spans(episodes(".bb..b...b")) == [(1, 6), (9, 10)]


def test_unavailable_and_bad_windows_form_one_episode() -> None:
    """Both are out of limit."""
    assert spans(episodes("buubu")) == [(0, 5)]


def test_an_unknown_gap_is_a_gap() -> None:
    """Two unknown windows are included, three are not; unknown windows do not start or end an episode."""
    assert spans(episodes("?b??b???b?")) == [(1, 5), (8, 9)]


def test_a_good_period_has_no_episode() -> None:
    """An unknown period and an empty period have none either."""
    for text in ("....", "????", ""):
        assert len(episodes(text)) == 0


def test_the_whole_period_can_be_one_episode() -> None:
    """From the first window to the last."""
    assert spans(episodes("bbbb")) == [(0, 4)]


def series(**given_columns: list[int]) -> PathSeries:
    columns = make_empty_columns(len(next(iter(given_columns.values()))))
    columns |= {name: np.array(values, dtype=np.int32) for name, values in given_columns.items()}
    return PathSeries.from_columns(0, columns)


def test_stats_of_an_episode() -> None:
    """Largest p95, maximum RTT and losses from start to end, including gaps."""
    path_series = series(
        sent=[60, 60, 60, 60, 60],
        received=[60, 58, 60, 40, 60],
        p95_us=[9_999, 6_000, 4_000, MISSING, 5_000],
        max_us=[9_999, 7_000, 4_100, 8_000, 6_000],
    )

    assert (
        PathEpisodeStats(p95_us_worst=6_000, windows_without_p95=1, rtt_us_max=8_000, sent=240, lost=22),
    ) == compute_episode_stats(episodes(".b.ub"), path_series)


def test_stats_of_two_episodes() -> None:
    """Windows between the episodes do not count."""
    path_series = series(
        sent=[60, 60, 60, 60, 60],
        received=[60, 59, 58, 57, 0],
        p95_us=[10, 999, 999, 999, MISSING],
        max_us=[20, 999, 999, 999, MISSING],
    )

    assert (
        PathEpisodeStats(p95_us_worst=10, windows_without_p95=0, rtt_us_max=20, sent=60, lost=0),
        PathEpisodeStats(p95_us_worst=None, windows_without_p95=1, rtt_us_max=None, sent=60, lost=60),
    ) == compute_episode_stats(episodes("b...u"), path_series)


def test_an_unsent_window_does_not_count_as_an_infinite_p95() -> None:
    """The window may be bad on another path of the pair."""
    path_series = series(sent=[0], received=[0], p95_us=[MISSING], max_us=[MISSING])

    assert (
        PathEpisodeStats(p95_us_worst=None, windows_without_p95=0, rtt_us_max=None, sent=0, lost=0),
    ) == compute_episode_stats(episodes("b"), path_series)


def test_no_episodes_have_no_stats() -> None:
    """The result is empty."""
    assert compute_episode_stats(episodes(".."), series(sent=[60, 60])) == ()
