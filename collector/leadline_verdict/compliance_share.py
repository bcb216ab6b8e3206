"""The share of good windows of a period, and the interval that survives autocorrelation (method.md §3.3, §4.3).

Rule 1: windows hang together, so they are not counted as independent trials. With three episodes or more, whole UTC
days are the clusters of a Korn-Graubard interval; below three, the episodes themselves are counted (Garwood).
Rule 2: episodes are counted of the rarer state: bad windows, or good ones where fewer than half are good.
Rule 3: the length of an episode is its span. Of a span at least a third is of its state (runs are merged over two
windows at most), which keeps the lower bound on the rarer share below what was seen.
Rule 4: nothing is random, so the same windows give the same interval to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from leadline.evaluation import UNSEEN_OUTAGE_WINDOWS, WINDOWS_PER_DAY, WindowStateCounts
from leadline_verdict.binomial import CONFIDENCE, clopper_pearson, poisson_lower_bound, poisson_upper_bound
from leadline_verdict.episodes import IntArray, find_runs
from leadline_verdict.states import BAD, GOOD, STATES_BY_CODE, UNAVAILABLE, UNKNOWN, MinuteMask, StateArray

#: From so many episodes on, days say more than episodes do.
EPISODES_MIN_FOR_DAYS = 3
#: One day has no variance between days. How many days a claim asks for is the verdict's business (§6.2: 14).
DAYS_MIN_FOR_VARIANCE = 2


class IntervalMethod(StrEnum):
    """How an interval came about; printed with it."""

    KORN_GRAUBARD = "korn_graubard_by_day"
    EPISODE_BOUND = "episode_bound"


class CountedState(StrEnum):
    """The rarer state, whose episodes were counted."""

    BAD = "bad"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeriodObservation:
    """What a reading of a period comes down to for its interval."""

    #: Good windows of each whole UTC day, and those that count: all of them, or the known ones (``missing = mar``).
    good_by_day: IntArray
    windows_by_day: IntArray
    #: Spans of the merged episodes of windows that are not good, in order of time.
    bad_spans: IntArray
    #: The same of good windows: the episodes of a path that is mostly out of limit.
    good_spans: IntArray

    def __post_init__(self) -> None:
        if len(self.good_by_day) != len(self.windows_by_day) or not len(self.windows_by_day):
            raise ValueError(
                f"{len(self.good_by_day)} days of good windows, {len(self.windows_by_day)} days of windows"
            )
        if np.any(self.good_by_day < 0) or np.any(self.good_by_day > self.windows_by_day):
            raise ValueError("a day has more good windows than windows")
        if not np.any(self.windows_by_day):
            raise ValueError("no window counts, so there is no share")

    @property
    def windows(self) -> int:
        """N: all windows that count."""
        return int(self.windows_by_day.sum())

    @property
    def good(self) -> int:
        """Good windows."""
        return int(self.good_by_day.sum())

    @property
    def share(self) -> float:
        """good / N: S_pess or S_opt, depending on the reading."""
        return self.good / self.windows


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplianceInterval:
    """Bounds on the long-run share of good windows, each 0..1."""

    low: float
    high: float
    #: good / N, the point between them.
    share: float
    method: IntervalMethod
    counted_state: CountedState
    #: Merged episodes of the rarer state.
    episodes: int
    #: Their mean span in windows; None when there was none.
    mean_length: float | None
    #: How many independent windows the days are worth, p (1 - p) / Var; None under the episode bound.
    n_eff: float | None
    #: Whole UTC days with a window that counts.
    days: int
    #: N.
    windows: int
    #: m0, the span that an episode nobody saw could have; None where it was not used.
    unseen_outage_windows: int | None


def count_state_codes(states: StateArray) -> WindowStateCounts:
    """How many windows are in which state."""
    counts = np.bincount(states, minlength=len(STATES_BY_CODE))
    return WindowStateCounts(
        good=int(counts[GOOD]), bad=int(counts[BAD]), unavailable=int(counts[UNAVAILABLE]), unknown=int(counts[UNKNOWN])
    )


def observe_period(good: MinuteMask, counted_minutes: MinuteMask | None = None) -> PeriodObservation:
    """Count the days and episodes of whole UTC days of windows; what is not ``counted`` leaves N (default: all stay).

    In the pessimistic reading ``good`` is GOOD alone, in the optimistic one GOOD or UNKNOWN.
    """
    if len(good) % WINDOWS_PER_DAY:
        raise ValueError(f"{len(good)} windows are no whole days of {WINDOWS_PER_DAY}")
    every = np.ones_like(good) if counted_minutes is None else counted_minutes
    kept = good & every
    return PeriodObservation(
        good_by_day=_count_by_day(kept),
        windows_by_day=_count_by_day(every),
        bad_spans=find_runs(every & ~good).lengths,
        good_spans=find_runs(kept).lengths,
    )


def _count_by_day(minutes: MinuteMask) -> IntArray:
    by_day: IntArray = np.count_nonzero(minutes.reshape(-1, WINDOWS_PER_DAY), axis=1)
    return by_day


def compute_share_interval(
    observation: PeriodObservation, *, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> ComplianceInterval:
    """The interval of §4.3: by days from three episodes of the rarer state on, by episodes below.

    ValueError for a single day with three episodes or more: it has no variance between days.
    """
    counted = CountedState.GOOD if 2 * observation.good < observation.windows else CountedState.BAD
    spans = observation.bad_spans if counted is CountedState.BAD else observation.good_spans
    if len(spans) >= EPISODES_MIN_FOR_DAYS:
        return _compute_day_interval(observation, counted, spans)
    return _compute_episode_interval(observation, counted, spans, unseen_outage_windows)


def _compute_day_interval(observed: PeriodObservation, counted: CountedState, spans: IntArray) -> ComplianceInterval:
    bounds = korn_graubard(observed.good_by_day, observed.windows_by_day)
    return ComplianceInterval(
        low=bounds.low,
        high=bounds.high,
        share=observed.share,
        method=IntervalMethod.KORN_GRAUBARD,
        counted_state=counted,
        episodes=len(spans),
        mean_length=float(spans.mean()),
        n_eff=bounds.n_eff,
        days=int(np.count_nonzero(observed.windows_by_day)),
        windows=observed.windows,
        unseen_outage_windows=None,
    )


def _compute_episode_interval(
    observed: PeriodObservation, counted: CountedState, spans: IntArray, unseen_windows: int
) -> ComplianceInterval:
    rarer = compute_episode_bounds(spans, observed.windows, unseen_windows)
    low, high = rarer if counted is CountedState.GOOD else (1 - rarer[1], 1 - rarer[0])
    return ComplianceInterval(
        low=low,
        high=high,
        share=observed.share,
        method=IntervalMethod.EPISODE_BOUND,
        counted_state=counted,
        episodes=len(spans),
        mean_length=float(spans.mean()) if len(spans) else None,
        n_eff=None,
        days=int(np.count_nonzero(observed.windows_by_day)),
        windows=observed.windows,
        unseen_outage_windows=unseen_windows,
    )


def compute_episode_bounds(
    spans: IntArray, windows: int, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> tuple[float, float]:
    """Bounds on the share of a state that came in so few episodes, each one-sided at 95 % (§4.3 b).

    The number of episodes is Poisson; each is as long as the mean seen, and for the upper bound at least m0.
    """
    mean = float(spans.mean()) if len(spans) else 0.0
    upper = poisson_upper_bound(len(spans), CONFIDENCE) * max(mean, unseen_outage_windows) / windows
    return poisson_lower_bound(len(spans), CONFIDENCE) * mean / windows, min(1.0, upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class KornGraubardBounds:
    """A Korn-Graubard interval on the share of good windows, two-sided at 95 %."""

    low: float
    high: float
    n_eff: float


def korn_graubard(good_by_day: IntArray, windows_by_day: IntArray) -> KornGraubardBounds:
    """The exact binomial interval at the effective sample size of whole days (§4.3 a; Korn and Graubard 1998).

    Days without a window are no clusters and left out. ValueError below two days.
    """
    clusters = windows_by_day > 0
    days = int(np.count_nonzero(clusters))
    if days < DAYS_MIN_FOR_VARIANCE:
        raise ValueError(f"{days} days have no variance between days")
    windows, good = int(windows_by_day.sum()), int(good_by_day.sum())
    residuals = (good_by_day[clusters] * windows - good * windows_by_day[clusters]).tolist()
    n_eff, n_star = _compute_effective_sizes(windows, good, days, sum(residual**2 for residual in residuals))
    # At p = 0 and p = 1 the products are exact, so that Clopper-Pearson sees its edges.
    bounds = clopper_pearson(good / windows * n_star, n_star)
    return KornGraubardBounds(low=bounds.low, high=bounds.high, n_eff=n_eff)


def _compute_effective_sizes(windows: int, good: int, days: int, squares: int) -> tuple[float, float]:
    """n_eff and n* from the sum of (g_d N - G n_d)^2, which is N^4 times the sum of e_d^2.

    In whole numbers (too large for 64 bits), so that days that are all alike have a variance of exactly 0, and the
    order of days changes no digit.
    """
    p = good / windows
    variance = days * squares / ((days - 1) * windows**4)
    n_eff = p * (1 - p) / variance if variance else float(windows)
    fewer = special.stdtrit(windows - 1, _UPPER_QUANTILE) / special.stdtrit(days - 1, _UPPER_QUANTILE)
    return n_eff, min(float(windows), n_eff * float(fewer) ** 2)


_UPPER_QUANTILE = 1 - (1 - CONFIDENCE) / 2
