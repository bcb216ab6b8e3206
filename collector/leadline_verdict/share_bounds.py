"""Bounds on the long-run share of good windows, second edition (docs/verdicts.md; decision 0015 has the measurements).

Rule 1: both bounds are monotone. A set of bad minutes that contains another one never has a higher bound, so a stricter
limit or one more bad minute never improves a verdict.
Rule 2: the lower bound is the smallest of the Korn-Graubard bound by day and the bounds from 0, 1 and 2 episodes, which
allow for an outage of m0 that the period missed. The Korn-Graubard bound is not monotone: further bad days can lower
the variance. So the smallest bound over the k worst days is taken, for every k.
Rule 3: one event is no rate. The upper bound uses the Korn-Graubard bound without the worst days, a twelfth of them
and at most five, so that no single outage of days decides. Bad minutes of each day above a level are ignored, with
the level that gives the smallest upper bound, because a single outlier increases the variance. Independently of that, a
period with the observed share of bad minutes p has a long-run share of at least 2 % of p: by Markov's inequality this
is false in at most 2 % of the periods.
Rule 4: no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.binomial import CONFIDENCE, poisson_upper_bound
from leadline_verdict.episodes import MERGE_GAP_WINDOWS, IntArray, find_runs
from leadline_verdict.states import MinuteMask

#: Days with bad minutes that the upper bound requires: without two neighbours, and besides the worst days.
SEPARATE_DAYS_MIN, OTHER_DAYS_MIN = 4, 3
#: The worst days that the upper bound leaves out: one of twelve, at most five.
LEFT_OUT_DIVISOR, LEFT_OUT_DAYS_MAX = 12, 5
#: Probability of the bound by Markov's inequality.
MARKOV_RATIO = 0.02
#: Assumed longest unobserved run of good windows, for the upper bound of a path without one.
UNSEEN_GOOD_WINDOWS = 30
_UPPER_TAIL = 1 - (1 - CONFIDENCE) / 2
#: Levels of rule 3: every minute of a day. Lost probes of a day, which are counted alike, have more.
_LEVELS_MAX = WINDOWS_PER_DAY
#: Poisson upper bounds for 0, 1 and 2 episodes.
_EPISODE_FACTORS = tuple(poisson_upper_bound(count, CONFIDENCE) for count in range(3))

_Floats: TypeAlias = NDArray[np.float64]


class LowerBoundMethod(StrEnum):
    """The part of the lower bound that decides."""

    KORN_GRAUBARD = "korn_graubard_by_day"
    EPISODES = "episode_bound"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BadMinutes:
    """Bad minutes of a period of whole UTC days in one case."""

    #: Per day.
    bad_by_day: IntArray
    #: Counted minutes per day: all of them, or the known ones (``missing = mar``).
    minutes_by_day: IntArray
    #: Spans of the merged episodes in minutes, in order of time.
    spans: IntArray

    @property
    def minutes(self) -> int:
        """N: number of counted minutes."""
        return int(self.minutes_by_day.sum())

    @property
    def bad(self) -> int:
        """Number of bad minutes."""
        return int(self.bad_by_day.sum())

    @property
    def days(self) -> int:
        """Days with a counted minute."""
        return int(np.count_nonzero(self.minutes_by_day))


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerBound:
    """Lower bound on the share of good minutes, 0..1, and the part that decides."""

    low: float
    method: LowerBoundMethod


def count_bad_minutes(bad: MinuteMask, counted_minutes: MinuteMask | None = None) -> BadMinutes:
    """Count the bad minutes of whole UTC days; minutes that are not counted are neither good nor bad."""
    if len(bad) % WINDOWS_PER_DAY:
        raise ValueError(f"{len(bad)} windows are not whole days of {WINDOWS_PER_DAY}")
    counted = np.ones_like(bad) if counted_minutes is None else counted_minutes
    counted_bad = bad & counted
    return BadMinutes(
        bad_by_day=_sum_days(counted_bad), minutes_by_day=_sum_days(counted), spans=find_runs(counted_bad).lengths
    )


def _sum_days(minutes: MinuteMask) -> IntArray:
    by_day: IntArray = np.count_nonzero(minutes.reshape(-1, WINDOWS_PER_DAY), axis=1)
    return by_day


def compute_lower_bound(observed: BadMinutes, unseen_outage_windows: int) -> LowerBound:
    """Compute the lower bound (rule 2); 0 for a single day, which has no variance between days."""
    if observed.days < 2:
        return LowerBound(low=0.0, method=LowerBoundMethod.KORN_GRAUBARD)
    by_episodes = 1 - _bound_bad_by_episodes(observed.spans, unseen_outage_windows) / observed.minutes
    by_days = 1 - bound_bad_high(observed)
    method = LowerBoundMethod.EPISODES if by_episodes <= by_days else LowerBoundMethod.KORN_GRAUBARD
    return LowerBound(low=max(0.0, min(by_episodes, by_days)), method=method)


def _bound_bad_by_episodes(spans: IntArray, unseen_outage_windows: int) -> float:
    """Return the largest number of bad minutes from the 0, 1 and 2 longest episodes, each of m0 at least.

    One episode of five minutes or more contains two shorter ones, so it counts as two as well: otherwise a good minute
    that divides it would lower the bound.
    """
    longest = np.sort(spans)[::-1][:2].tolist()
    bounds = [_EPISODE_FACTORS[0] * unseen_outage_windows]
    if longest:
        bounds.append(_EPISODE_FACTORS[1] * max(longest[0], unseen_outage_windows))
    if len(longest) > 1 or (longest and longest[0] > MERGE_GAP_WINDOWS + 2):
        bounds.append(_EPISODE_FACTORS[2] * max(sum(longest) / 2, unseen_outage_windows))
    return max(bounds)


def bound_bad_high(observed: BadMinutes) -> float:
    """Return the largest upper Korn-Graubard bound on the share of bad minutes over the k worst days, for every k.

    Needs at least two days. It does not allow for an unseen outage.
    """
    order = np.argsort(-observed.bad_by_day, kind="stable")
    bad, counted = observed.bad_by_day[order].astype(np.float64), observed.minutes_by_day[order].astype(np.float64)
    worst = slice(max(1, np.count_nonzero(bad)))
    moments = [np.cumsum(values)[worst] for values in (bad, bad * bad, bad * counted)]
    effective, successes = _compute_effective_sizes(observed, _UPPER_TAIL, *moments)
    return float(_upper_bound(successes, effective).max())


def compute_upper_bound(observed: BadMinutes, tests: int = 1) -> float:
    """Compute the upper bound (rule 3), 0..1, for the smallest bound of a number of tests (Bonferroni)."""
    bad_low = MARKOV_RATIO / tests * observed.bad / observed.minutes
    if is_recurrent(observed):
        confidence = 1 - (1 - _UPPER_TAIL) / tests
        bad_low = max(bad_low, _bound_bad_low_by_days(leave_out_worst_days(observed), confidence))
    return 1 - min(bad_low, max(0.0, 1 - _EPISODE_FACTORS[0] * UNSEEN_GOOD_WINDOWS / observed.minutes))


def is_recurrent(observed: BadMinutes) -> bool:
    """True if bad minutes occurred on four days without two neighbours, and on three days besides the worst ones."""
    besides = int(np.count_nonzero(leave_out_worst_days(observed).bad_by_day))
    return besides >= OTHER_DAYS_MIN and count_separate_days(observed.bad_by_day) >= SEPARATE_DAYS_MIN


def leave_out_worst_days(observed: BadMinutes) -> BadMinutes:
    """Return the period without its worst days.

    The share of the other days is at most that of all days, and monotone: with more bad minutes, the ordered days that
    remain have as many or more.
    """
    left_out = min(LEFT_OUT_DAYS_MAX, max(1, observed.days // LEFT_OUT_DIVISOR))
    rest = np.sort(np.argsort(-observed.bad_by_day, kind="stable")[left_out:])
    return BadMinutes(
        bad_by_day=observed.bad_by_day[rest], minutes_by_day=observed.minutes_by_day[rest], spans=observed.spans
    )


def count_separate_days(bad_by_day: IntArray) -> int:
    """Return the largest number of days with a bad minute, no two of them neighbours."""
    count, previous = 0, -2
    for day in np.flatnonzero(bad_by_day).tolist():
        if day > previous + 1:
            count, previous = count + 1, day
    return count


def _bound_bad_low_by_days(observed: BadMinutes, confidence: float) -> float:
    """Return the largest lower Korn-Graubard bound on the share of bad minutes over the levels of rule 3."""
    largest = int(observed.bad_by_day.max())
    levels = np.unique(np.linspace(1, largest, min(largest, _LEVELS_MAX)).astype(np.int64))
    moments = [moment.astype(np.float64) for moment in _sum_clipped(observed, levels)]
    effective, successes = _compute_effective_sizes(observed, confidence, *moments)
    return float(_lower_bound(successes, effective, confidence).max())


def _sum_clipped(observed: BadMinutes, levels: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return, for each level c, the sums over the days of min(b, c), of its square, and of its product with n."""
    order = np.argsort(observed.bad_by_day, kind="stable")
    bad, counted = observed.bad_by_day[order], observed.minutes_by_day[order]
    below = np.searchsorted(bad, levels, side="left")

    def sums(values: IntArray) -> IntArray:
        return np.concatenate([[0], np.cumsum(values)])[below]

    above_days = len(bad) - below
    above_minutes = observed.minutes - sums(counted)
    return (
        sums(bad) + levels * above_days,
        sums(bad * bad) + levels * levels * above_days,
        sums(bad * counted) + levels * above_minutes,
    )


def _compute_share_and_variance(
    observed: BadMinutes, bad: _Floats, squares: _Floats, products: _Floats
) -> tuple[_Floats, _Floats]:
    """Return the share and its variance between days (ratio estimator) from the moments of the bad minutes by day."""
    minutes, days = float(observed.minutes), observed.days
    share = bad / minutes
    counted_squares = float((observed.minutes_by_day.astype(np.float64) ** 2).sum())
    residuals = squares - 2 * share * products + share * share * counted_squares
    # Rounding leaves tiny residuals for equal days.
    residuals = np.where(residuals < 1e-9 * np.maximum(squares, 1), 0.0, residuals)
    return share, days * residuals / ((days - 1) * minutes**2)


def _compute_effective_sizes(
    observed: BadMinutes, confidence: float, bad: _Floats, squares: _Floats, products: _Floats
) -> tuple[_Floats, _Floats]:
    """Return the effective numbers of minutes and of bad minutes (Korn and Graubard 1998)."""
    share, variance = _compute_share_and_variance(observed, bad, squares, products)
    minutes = float(observed.minutes)
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = np.where(variance > 0, share * (1 - share) / variance, minutes)
    ratio = special.stdtrit(minutes - 1, confidence) / special.stdtrit(observed.days - 1, confidence)
    effective = np.minimum(minutes, n_eff * float(ratio) ** 2)
    return effective, share * effective


def _upper_bound(successes: _Floats, trials: _Floats) -> _Floats:
    failures = trials - successes
    bound = special.betaincinv(successes + 1, np.maximum(failures, 1e-9), _UPPER_TAIL)
    return np.where(failures <= 0, 1.0, bound)


def _lower_bound(successes: _Floats, trials: _Floats, confidence: float) -> _Floats:
    bound = special.betaincinv(np.maximum(successes, 1e-9), trials - successes + 1, 1 - confidence)
    return np.where(successes <= 0, 0.0, bound)


def find_tipping_point(observed: BadMinutes, target_share: float) -> int | None:
    """Return the longest unseen outage in minutes with which the lower bound still reaches the target.

    None if the target is not reached even without an unseen outage.
    """
    if compute_lower_bound(observed, 0).low < target_share:
        return None
    low, high = 0, observed.minutes
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if compute_lower_bound(observed, middle).low >= target_share else (low, middle)
    return low
