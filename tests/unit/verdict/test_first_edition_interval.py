"""Intervals of the share of good windows, compared with the examples of method.md §4.3 and §6.4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from leadline.evaluation import WindowStateCounts
from leadline_verdict.binomial import clopper_pearson, poisson_upper_bound
from leadline_verdict.episodes import IntArray
from leadline_verdict.first_edition.share_interval import (
    PeriodObservation,
    compute_episode_bounds,
    compute_share_interval,
    korn_graubard,
    observe_period,
)
from leadline_verdict.share_interval import CountedState, IntervalMethod
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN, MinuteMask, count_state_codes

DAY = 1_440
#: Episodes start at noon, so none crosses midnight and days can be reordered.
NOON = 720


def clean(days: int) -> MinuteMask:
    return np.ones(days * DAY, dtype=np.bool_)


def with_episodes(days: int, *lengths: int) -> MinuteMask:
    """Return good windows except for one episode at noon of each of the first days."""
    good = clean(days)
    for day, length in enumerate(lengths):
        good[day * DAY + NOON : day * DAY + NOON + length] = False
    return good


def column(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def by_day(bad: list[int], windows: int = DAY) -> PeriodObservation:
    """Build days with these numbers of bad windows and three episodes."""
    return PeriodObservation(
        good_by_day=windows - column(bad),
        windows_by_day=np.full(len(bad), windows, dtype=np.int64),
        bad_spans=column([1, 1, 1]),
        good_spans=column([1, 1, 1]),
    )


def test_the_worked_example() -> None:
    """28 days with 60, 60 and 14 bad minutes: 0.98900 to 0.99950, neither beyond nor within 99.5 %."""
    interval = compute_share_interval(observe_period(with_episodes(28, 60, 60, 14)))

    assert (interval.method, interval.counted_state, interval.episodes) == (
        IntervalMethod.KORN_GRAUBARD,
        CountedState.BAD,
        3,
    )
    assert (round(interval.share, 6), round(interval.low, 5), round(interval.high, 5)) == (0.996677, 0.98900, 0.99950)
    assert (interval.days, interval.windows, interval.unseen_outage_windows) == (28, 40_320, None)
    assert interval.mean_length == pytest.approx(134 / 3)
    assert interval.low < 0.995 <= interval.high


def test_a_naive_interval_would_be_too_narrow() -> None:
    """Counting the 134 minutes of the example as independent gives 0.99607 to 0.99721, which is wrongly within."""
    naive = clopper_pearson(40_320 - 134, 40_320)

    assert (round(naive.low, 5), round(naive.high, 5)) == (0.99607, 0.99721)


def test_korn_graubard_by_its_formula() -> None:
    """The formula computed with the distributions of scipy.stats."""
    good, windows = column([1_380, 1_440, 1_000, 1_426] * 7), column([1_440, 1_440, 1_100, 1_430] * 7)
    n, p, d = windows.sum(), good.sum() / windows.sum(), 28
    variance = d / (d - 1) * (((good - p * windows) / n) ** 2).sum()
    n_eff = p * (1 - p) / variance
    n_star = n_eff * (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, d - 1)) ** 2
    x_star = p * n_star

    bounds = korn_graubard(good, windows)
    assert bounds.n_eff == pytest.approx(n_eff)
    assert bounds.low == pytest.approx(stats.beta.ppf(0.025, x_star, n_star - x_star + 1))
    assert bounds.high == pytest.approx(stats.beta.ppf(0.975, x_star + 1, n_star - x_star))


def test_n_eff_of_identical_days_is_n() -> None:
    """n* is smaller by the factor of t for few days."""
    bounds = korn_graubard(column([1_430] * 28), column([1_440] * 28))
    n_star = 40_320 * (stats.t.ppf(0.975, 40_319) / stats.t.ppf(0.975, 27)) ** 2
    exact = clopper_pearson(n_star * 1_430 / 1_440, n_star)

    assert bounds.n_eff == 40_320
    assert (bounds.low, bounds.high) == pytest.approx((exact.low, exact.high))


def test_n_star_is_at_most_n() -> None:
    """The variance between nearly identical days is below the binomial variance."""
    bounds = korn_graubard(column([1_430] * 27 + [1_429]), column([1_440] * 28))
    exact = clopper_pearson(28 * 1_430 - 1, 40_320)

    assert bounds.n_eff > 40_320
    assert (bounds.low, bounds.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("good", "edge"), [(1_440, "high"), (0, "low")])
def test_all_good_and_all_bad_days_end_at_the_edge(good: int, edge: str) -> None:
    """At p = 1 the upper bound is 1, at p = 0 the lower is 0; the other bound is that of zero failures."""
    bounds = korn_graubard(column([good] * 14), column([1_440] * 14))
    n_star = 20_160 * (stats.t.ppf(0.975, 20_159) / stats.t.ppf(0.975, 13)) ** 2

    assert getattr(bounds, edge) == good / 1_440
    width = 1 - 0.025 ** (1 / n_star)
    assert bounds.high - bounds.low == pytest.approx(width)


def test_one_day_has_no_variance() -> None:
    """A second day without windows does not count."""
    for windows in ([1_440], [1_440, 0]):
        with pytest.raises(ValueError, match="1 days have no variance"):
            korn_graubard(column([0] * len(windows)), column(windows))


def test_a_day_without_windows_is_not_a_cluster() -> None:
    """With ``missing = mar`` a day may have no counted window; it does not change the interval."""
    with_hole = korn_graubard(column([1_400, 0, 1_440, 1_430]), column([1_440, 0, 1_440, 1_440]))

    assert with_hole == korn_graubard(column([1_400, 1_440, 1_430]), column([1_440, 1_440, 1_440]))


@pytest.mark.parametrize(("days", "demonstrated"), [(14, 0.99554), (28, 0.99777), (63, 0.99901)])
def test_demonstrated_share_without_an_episode(days: int, demonstrated: float) -> None:
    """1 - 2.996 * 30 / N."""
    interval = compute_share_interval(observe_period(clean(days)))

    assert (
        interval.method,
        interval.episodes,
        interval.mean_length,
        interval.unseen_outage_windows,
    ) == (IntervalMethod.EPISODE_BOUND, 0, None, 30)
    assert demonstrated == round(interval.low, 5)
    assert (interval.high, interval.share) == (1.0, 1.0)


@pytest.mark.parametrize(("lengths", "demonstrated"), [((30,), 0.99647), ((10,), 0.99647), ((30, 30), 0.99532)])
def test_demonstrated_share_after_one_and_two_episodes(lengths: tuple[int, ...], demonstrated: float) -> None:
    """99.647 % after one episode of at most 30 minutes in 28 days, 99.532 % after two."""
    interval = compute_share_interval(observe_period(with_episodes(28, *lengths)))

    assert (IntervalMethod.EPISODE_BOUND, len(lengths)) == (interval.method, interval.episodes)
    assert demonstrated == round(interval.low, 5)


def test_a_long_episode_counts_with_its_length() -> None:
    """An outage of 3 h in 28 days gives 97.88 %; the upper bound comes from the number of episodes."""
    interval = compute_share_interval(observe_period(with_episodes(28, 180)))

    assert round(interval.low, 4) == 0.9788
    assert interval.high == pytest.approx(1 - stats.chi2.ppf(0.05, 2) / 2 * 180 / 40_320)


@pytest.mark.parametrize(
    ("target", "unseen", "days"),
    [
        (0.99, 30, 6.2),
        (0.995, 30, 12.5),
        (0.999, 30, 62.4),
        (0.9999, 30, 624),
        (0.99, 15, 3.1),
        (0.995, 15, 6.2),
        (0.999, 15, 31.2),
        (0.9999, 15, 312),
    ],
)
def test_days_without_violations(target: float, unseen: int, days: float) -> None:
    """Days without a bad window that demonstrate a target, for two lengths of an unseen outage."""
    needed = poisson_upper_bound(0, 0.95) * unseen / (1 - target) / DAY

    assert days == round(needed, 1 if days < 100 else 0)
    assert compute_episode_bounds(column([]), round(needed * DAY) + 1, unseen)[1] <= 1 - target
    assert compute_episode_bounds(column([]), round(needed * DAY) - 1, unseen)[1] > 1 - target


def test_the_unseen_outage_is_a_parameter() -> None:
    """m0 of 15, 30 and 60 windows."""
    lows = [compute_share_interval(observe_period(clean(28)), unseen_outage_windows=m0).low for m0 in (15, 30, 60)]

    assert lows == pytest.approx([1 - 2.995732 * m0 / 40_320 for m0 in (15, 30, 60)])


def test_the_interval_of_three_episodes_is_by_days() -> None:
    """That of two episodes is by episodes."""
    methods = [compute_share_interval(observe_period(with_episodes(28, *[5] * k))).method for k in (2, 3)]

    assert methods == [IntervalMethod.EPISODE_BOUND, IntervalMethod.KORN_GRAUBARD]


def test_a_path_that_is_never_good() -> None:
    """Good windows are the rarer state: their share is below 2.996 * 30 / N."""
    interval = compute_share_interval(observe_period(~clean(28)))

    assert (interval.counted_state, interval.method, interval.episodes) == (
        CountedState.GOOD,
        IntervalMethod.EPISODE_BOUND,
        0,
    )
    assert (interval.low, round(interval.high, 5)) == (0.0, 0.00223)


def test_a_path_that_was_good_once() -> None:
    """The mirror image of a path that was bad once."""
    once_bad, once_good = with_episodes(28, 90), ~with_episodes(28, 90)
    bad, good = compute_share_interval(observe_period(once_bad)), compute_share_interval(observe_period(once_good))

    assert (bad.counted_state, good.counted_state) == (CountedState.BAD, CountedState.GOOD)
    assert (good.low, good.high) == pytest.approx((1 - bad.high, 1 - bad.low))


def test_only_episodes_of_the_rarer_state_count() -> None:
    """The interval of a path that is good twice comes from these two episodes."""
    interval = compute_share_interval(observe_period(~with_episodes(28, 400, 400)))

    assert (interval.counted_state, interval.episodes, interval.mean_length) == (CountedState.GOOD, 2, 400.0)


def test_bad_episodes_are_counted_at_exactly_one_half() -> None:
    """Good episodes are counted only below one half."""
    half = np.concatenate([clean(1), ~clean(1)])

    assert CountedState.BAD is compute_share_interval(observe_period(half)).counted_state


def test_bounds_are_between_0_and_1() -> None:
    """The lower bound of a single episode of half the period is 0."""
    half = np.concatenate([clean(1), ~clean(1)])

    assert compute_share_interval(observe_period(half)).low == 0.0


@given(st.lists(st.integers(0, 40), min_size=2, max_size=28), st.data())
def test_the_order_of_days_does_not_change_the_interval(bad: list[int], data: st.DataObject) -> None:
    """Days with an episode at noon in random order."""
    order = data.draw(st.permutations(bad))

    interval, permuted_interval = (
        compute_share_interval(observe_period(with_episodes(len(days), *days))) for days in (bad, order)
    )
    assert interval == permuted_interval


@given(st.lists(st.integers(0, DAY), min_size=2, max_size=28))
def test_the_interval_contains_the_observed_share(bad: list[int]) -> None:
    """The bounds are between 0 and 1, by days and by episodes."""
    good = with_episodes(len(bad), *[min(length, NOON - 3) for length in bad])
    for observation in (by_day(bad), observe_period(good)):
        interval = compute_share_interval(observation)

        assert 0 <= interval.low <= interval.share <= interval.high <= 1


@given(st.lists(st.integers(0, 300), min_size=14, max_size=28))
def test_a_better_worst_day_never_lowers_the_bound(bad: list[int]) -> None:
    """By days: one more good window on the worst day raises the share and lowers the variance."""
    worst = max(range(len(bad)), key=bad.__getitem__)
    assume(bad[worst])
    better = [count - (day == worst) for day, count in enumerate(bad)]

    assert compute_share_interval(by_day(better)).low >= compute_share_interval(by_day(bad)).low


def test_a_better_ordinary_day_may_lower_the_bound() -> None:
    """By days: one different day has more variance than identical days."""
    identical, one_better = by_day([200] * 13 + [200]), by_day([200] * 13 + [0])

    assert compute_share_interval(one_better).low < compute_share_interval(identical).low


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 299)), max_size=2), st.integers(14, 63))
def test_shorter_episodes_never_lower_the_bound(lengths: list[tuple[int, int]], days: int) -> None:
    """By episodes: the same number of episodes, each at most as long."""
    before = observe_period(with_episodes(days, *(length for length, _ in lengths)))
    after = observe_period(with_episodes(days, *(max(1, length - less) for length, less in lengths)))

    assert compute_share_interval(after).low >= compute_share_interval(before).low


def test_one_episode_fewer_may_lower_the_bound() -> None:
    """By episodes: 60 and 1 minutes have a mean of 30.5 minutes, 60 alone has a mean of 60.

    The bound is the product of a bound on the number and the mean length. A short episode lowers the mean by more than
    it raises the number.
    """
    two_episodes, one_episode = (
        compute_share_interval(observe_period(with_episodes(28, *lengths))).low for lengths in ((60, 1), (60,))
    )

    assert (round(two_episodes, 5), round(one_episode, 5)) == (0.99524, 0.99294)


@given(st.lists(st.integers(0, 2), max_size=2), st.integers(14, 60))
def test_another_good_day_never_lowers_the_episode_bound(lengths: list[int], days: int) -> None:
    """More windows with the same episodes raise it."""
    shorter, longer = (compute_share_interval(observe_period(with_episodes(d, *lengths))).low for d in (days, days + 1))

    assert longer > shorter


def test_states_are_counted() -> None:
    """Number of windows by state."""
    states = np.array([GOOD, GOOD, BAD, UNAVAILABLE, UNKNOWN, GOOD], dtype=np.uint8)

    assert WindowStateCounts(good=3, bad=1, unavailable=1, unknown=1) == count_state_codes(states)
    assert WindowStateCounts() == count_state_codes(states[:0])


def test_an_empty_period_has_no_share() -> None:
    """The error has the number of days."""
    with pytest.raises(ValueError, match="0 days"):
        observe_period(np.zeros(0, dtype=np.bool_))


def test_excluded_windows_do_not_affect_the_share() -> None:
    """With ``missing = mar`` unknown windows are excluded from N and do not start or extend an episode."""
    good, counted = with_episodes(2, 60), clean(2)
    good[:100] = counted[:100] = False

    observation = observe_period(good, counted)

    assert (observation.good_by_day.tolist(), observation.windows_by_day.tolist()) == ([1_280, 1_440], [1_340, 1_440])
    assert observation.bad_spans.tolist() == [60]
    assert observation.share == pytest.approx(2_720 / 2_780)


def test_a_period_must_have_whole_days() -> None:
    """A part of a day is not a valid cluster."""
    with pytest.raises(ValueError, match="not whole days"):
        observe_period(clean(2)[:-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"good_by_day": column([1_441, 0])}, "more good windows"),
        ({"good_by_day": column([-1, 0])}, "more good windows"),
        ({"good_by_day": column([1])}, "good windows of 1 days do not match windows of 2 days"),
        ({"good_by_day": column([0, 0]), "windows_by_day": column([0, 0])}, "no window counts"),
    ],
)
def test_invalid_observations_are_refused(change: dict[str, IntArray], message: str) -> None:
    """More good windows than windows, columns of different lengths, and no windows."""
    with pytest.raises(ValueError, match=message):
        replace(by_day([0, 0]), **change)
