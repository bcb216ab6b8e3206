"""Share of good windows of a period, with a confidence interval that allows for autocorrelation (method.md §3.3, §4.3).

Rule 1: windows are correlated, so they are not independent trials. With three episodes or more, whole UTC days are the
clusters of a Korn-Graubard interval; with fewer, the bounds come from the number of episodes (Garwood).
Rule 2: the counted episodes are those of the rarer state: bad windows, or good ones if fewer than half are good.
Rule 3: the length of an episode is its span. At least a third of a span has its state, because runs merge over two
windows at most; this keeps the lower bound on the rarer share below the observed share.
Rule 4: no randomness: the same windows give the same interval to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.binomial import CONFIDENCE, clopper_pearson, poisson_lower_bound, poisson_upper_bound
from leadline_verdict.episodes import IntArray, find_runs
from leadline_verdict.share_interval import CountedState, IntervalMethod, ShareInterval
from leadline_verdict.states import MinuteMask

#: m0 of the first edition in windows.
UNSEEN_OUTAGE_WINDOWS = 30
#: Number of episodes from which the interval is computed from days.
EPISODES_MIN_FOR_DAYS = 3
#: One day has no variance between days. The verdict requires more days (§6.2: 14).
DAYS_MIN_FOR_VARIANCE = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeriodObservation:
    """Counts of a period in one case, the input of its interval."""

    #: Good windows of each whole UTC day.
    good_by_day: IntArray
    #: Counted windows of each whole UTC day: all of them, or the known ones (``missing = mar``).
    windows_by_day: IntArray
    #: Spans of the merged episodes of windows that are not good, in order of time.
    bad_spans: IntArray
    #: Spans of the merged episodes of good windows, for a path that is mostly out of limit.
    good_spans: IntArray

    def __post_init__(self) -> None:
        if len(self.good_by_day) != len(self.windows_by_day) or not len(self.windows_by_day):
            raise ValueError(
                f"good windows of {len(self.good_by_day)} days do not match windows of {len(self.windows_by_day)} days"
            )
        if np.any(self.good_by_day < 0) or np.any(self.good_by_day > self.windows_by_day):
            raise ValueError("a day has more good windows than windows")
        if not np.any(self.windows_by_day):
            raise ValueError("the share is undefined: no window counts")

    @property
    def windows(self) -> int:
        """N: number of counted windows."""
        return int(self.windows_by_day.sum())

    @property
    def good(self) -> int:
        """Number of good windows."""
        return int(self.good_by_day.sum())

    @property
    def share(self) -> float:
        """good / N: S_pess in the worst case, S_opt in the best case."""
        return self.good / self.windows


def observe_period(good: MinuteMask, counted_minutes: MinuteMask | None = None) -> PeriodObservation:
    """Count days and episodes of whole UTC days. N is the number of ``counted_minutes`` (default: all).

    In the worst case ``good`` is GOOD, in the best case GOOD or UNKNOWN.
    """
    if len(good) % WINDOWS_PER_DAY:
        raise ValueError(f"{len(good)} windows are not whole days of {WINDOWS_PER_DAY}")
    counted = np.ones_like(good) if counted_minutes is None else counted_minutes
    counted_good = good & counted
    return PeriodObservation(
        good_by_day=_count_by_day(counted_good),
        windows_by_day=_count_by_day(counted),
        bad_spans=find_runs(counted & ~good).lengths,
        good_spans=find_runs(counted_good).lengths,
    )


def _count_by_day(minutes: MinuteMask) -> IntArray:
    by_day: IntArray = np.count_nonzero(minutes.reshape(-1, WINDOWS_PER_DAY), axis=1)
    return by_day


def compute_share_interval(
    observation: PeriodObservation, *, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> ShareInterval:
    """Compute the interval of §4.3: from days with at least three episodes of the rarer state, else from the episodes.

    Raise ValueError for a single day with three episodes or more: it has no variance between days.
    """
    counted = CountedState.GOOD if 2 * observation.good < observation.windows else CountedState.BAD
    spans = observation.bad_spans if counted is CountedState.BAD else observation.good_spans
    if len(spans) >= EPISODES_MIN_FOR_DAYS:
        return _compute_day_interval(observation, counted, spans)
    return _compute_episode_interval(observation, counted, spans, unseen_outage_windows)


def _compute_day_interval(observation: PeriodObservation, counted: CountedState, spans: IntArray) -> ShareInterval:
    bounds = korn_graubard(observation.good_by_day, observation.windows_by_day)
    return ShareInterval(
        low=bounds.low,
        high=bounds.high,
        share=observation.share,
        method=IntervalMethod.KORN_GRAUBARD,
        counted_state=counted,
        episodes=len(spans),
        mean_length=float(spans.mean()),
        n_eff=bounds.n_eff,
        days=int(np.count_nonzero(observation.windows_by_day)),
        windows=observation.windows,
        unseen_outage_windows=None,
    )


def _compute_episode_interval(
    observation: PeriodObservation, counted: CountedState, spans: IntArray, unseen_outage_windows: int
) -> ShareInterval:
    rarer = compute_episode_bounds(spans, observation.windows, unseen_outage_windows)
    low, high = rarer if counted is CountedState.GOOD else (1 - rarer[1], 1 - rarer[0])
    return ShareInterval(
        low=low,
        high=high,
        share=observation.share,
        method=IntervalMethod.EPISODE_BOUND,
        counted_state=counted,
        episodes=len(spans),
        mean_length=float(spans.mean()) if len(spans) else None,
        n_eff=None,
        days=int(np.count_nonzero(observation.windows_by_day)),
        windows=observation.windows,
        unseen_outage_windows=unseen_outage_windows,
    )


def compute_episode_bounds(
    spans: IntArray, windows: int, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> tuple[float, float]:
    """Return one-sided 95 % bounds on the share of a state from its episodes (§4.3 b).

    The number of episodes is Poisson; the length is the observed mean, and at least m0 for the upper bound.
    """
    mean = float(spans.mean()) if len(spans) else 0.0
    upper = poisson_upper_bound(len(spans), CONFIDENCE) * max(mean, unseen_outage_windows) / windows
    return poisson_lower_bound(len(spans), CONFIDENCE) * mean / windows, min(1.0, upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class KornGraubardBounds:
    """Two-sided 95 % Korn-Graubard interval of the share of good windows."""

    low: float
    high: float
    n_eff: float


def korn_graubard(good_by_day: IntArray, windows_by_day: IntArray) -> KornGraubardBounds:
    """Return the exact binomial interval at the effective sample size (§4.3 a; Korn and Graubard 1998).

    The clusters are the days with a window. Raise ValueError for fewer than two days.
    """
    clusters = windows_by_day > 0
    days = int(np.count_nonzero(clusters))
    if days < DAYS_MIN_FOR_VARIANCE:
        raise ValueError(f"{days} days have no variance between days")
    windows, good = int(windows_by_day.sum()), int(good_by_day.sum())
    residuals = (good_by_day[clusters] * windows - good * windows_by_day[clusters]).tolist()
    n_eff, n_star = _compute_effective_sizes(windows, good, days, sum(residual**2 for residual in residuals))
    # At p = 0 and p = 1 the products are exact, so Clopper-Pearson returns exactly 0 or 1.
    bounds = clopper_pearson(good / windows * n_star, n_star)
    return KornGraubardBounds(low=bounds.low, high=bounds.high, n_eff=n_eff)


def _compute_effective_sizes(windows: int, good: int, days: int, squares: int) -> tuple[float, float]:
    """Return n_eff and n* from the sum of (g_d N - G n_d)^2, which is N^4 times the sum of e_d^2.

    Python integers (the values exceed 64 bits) make the variance of equal days exactly 0 and the result independent of
    the order of days.
    """
    share = good / windows
    variance = days * squares / ((days - 1) * windows**4)
    n_eff = share * (1 - share) / variance if variance else float(windows)
    quantile_ratio = special.stdtrit(windows - 1, _UPPER_QUANTILE) / special.stdtrit(days - 1, _UPPER_QUANTILE)
    return n_eff, min(float(windows), n_eff * float(quantile_ratio) ** 2)


_UPPER_QUANTILE = 1 - (1 - CONFIDENCE) / 2
