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

from leadline.evaluation import UNSEEN_EPISODE_WINDOWS, WINDOWS_PER_DAY, Tally
from leadline_verdict.binomial import CONFIDENCE, clopper_pearson, count_at_least, count_at_most
from leadline_verdict.episodes import Counts, runs
from leadline_verdict.states import BAD, GOOD, STATES, UNAVAILABLE, UNKNOWN, Minutes, States

#: From so many episodes on, days say more than episodes do.
EPISODES_FOR_DAYS = 3
#: One day has no variance between days. How many days a claim asks for is the verdict's business (§6.2: 14).
DAYS_FOR_VARIANCE = 2


class Rule(StrEnum):
    """How an interval came about; printed with it."""

    KORN_GRAUBARD = "korn_graubard_by_day"
    EPISODE_BOUND = "episode_bound"


class Counted(StrEnum):
    """The rarer state, whose episodes were counted."""

    BAD = "bad"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a reading of a period comes down to for its interval."""

    #: Good windows of each whole UTC day, and those that count: all of them, or the known ones (``missing = mar``).
    good_by_day: Counts
    windows_by_day: Counts
    #: Spans of the merged episodes of windows that are not good, in order of time.
    bad_spans: Counts
    #: The same of good windows: the episodes of a path that is mostly out of limit.
    good_spans: Counts

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
class Interval:
    """Bounds on the long-run share of good windows, each 0..1."""

    low: float
    high: float
    #: good / N, the point between them.
    share: float
    rule: Rule
    counted: Counted
    #: Merged episodes of the rarer state.
    k: int
    #: Their mean span in windows; None when there was none.
    mean_length: float | None
    #: How many independent windows the days are worth, p (1 - p) / Var; None under the episode bound.
    n_eff: float | None
    #: Whole UTC days with a window that counts.
    days: int
    #: N.
    windows: int
    #: m0, the span that an episode nobody saw could have; None where it was not used.
    unseen_windows: int | None


def tally(states: States) -> Tally:
    """How many windows are in which state."""
    counts = np.bincount(states, minlength=len(STATES))
    return Tally(
        good=int(counts[GOOD]), bad=int(counts[BAD]), unavailable=int(counts[UNAVAILABLE]), unknown=int(counts[UNKNOWN])
    )


def seen(good: Minutes, counted: Minutes | None = None) -> Seen:
    """Count the days and episodes of whole UTC days of windows; what is not ``counted`` leaves N (default: all stay).

    In the pessimistic reading ``good`` is GOOD alone, in the optimistic one GOOD or UNKNOWN.
    """
    if len(good) % WINDOWS_PER_DAY:
        raise ValueError(f"{len(good)} windows are no whole days of {WINDOWS_PER_DAY}")
    every = np.ones_like(good) if counted is None else counted
    kept = good & every
    return Seen(
        good_by_day=_by_day(kept),
        windows_by_day=_by_day(every),
        bad_spans=runs(every & ~good).lengths,
        good_spans=runs(kept).lengths,
    )


def _by_day(minutes: Minutes) -> Counts:
    by_day: Counts = np.count_nonzero(minutes.reshape(-1, WINDOWS_PER_DAY), axis=1)
    return by_day


def share_interval(observed: Seen, *, unseen_windows: int = UNSEEN_EPISODE_WINDOWS) -> Interval:
    """The interval of §4.3: by days from three episodes of the rarer state on, by episodes below.

    ValueError for a single day with three episodes or more: it has no variance between days.
    """
    counted = Counted.GOOD if 2 * observed.good < observed.windows else Counted.BAD
    spans = observed.bad_spans if counted is Counted.BAD else observed.good_spans
    if len(spans) >= EPISODES_FOR_DAYS:
        return _by_days(observed, counted, spans)
    return _by_episodes(observed, counted, spans, unseen_windows)


def _by_days(observed: Seen, counted: Counted, spans: Counts) -> Interval:
    bounds = korn_graubard(observed.good_by_day, observed.windows_by_day)
    return Interval(
        low=bounds.low,
        high=bounds.high,
        share=observed.share,
        rule=Rule.KORN_GRAUBARD,
        counted=counted,
        k=len(spans),
        mean_length=float(spans.mean()),
        n_eff=bounds.n_eff,
        days=int(np.count_nonzero(observed.windows_by_day)),
        windows=observed.windows,
        unseen_windows=None,
    )


def _by_episodes(observed: Seen, counted: Counted, spans: Counts, unseen_windows: int) -> Interval:
    rarer = episode_bound(spans, observed.windows, unseen_windows)
    low, high = rarer if counted is Counted.GOOD else (1 - rarer[1], 1 - rarer[0])
    return Interval(
        low=low,
        high=high,
        share=observed.share,
        rule=Rule.EPISODE_BOUND,
        counted=counted,
        k=len(spans),
        mean_length=float(spans.mean()) if len(spans) else None,
        n_eff=None,
        days=int(np.count_nonzero(observed.windows_by_day)),
        windows=observed.windows,
        unseen_windows=unseen_windows,
    )


def episode_bound(spans: Counts, windows: int, unseen_windows: int = UNSEEN_EPISODE_WINDOWS) -> tuple[float, float]:
    """Bounds on the share of a state that came in so few episodes, each one-sided at 95 % (§4.3 b).

    The number of episodes is Poisson; each is as long as the mean seen, and for the upper bound at least m0.
    """
    mean = float(spans.mean()) if len(spans) else 0.0
    upper = count_at_most(len(spans), CONFIDENCE) * max(mean, unseen_windows) / windows
    return count_at_least(len(spans), CONFIDENCE) * mean / windows, min(1.0, upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBounds:
    """A Korn-Graubard interval on the share of good windows, two-sided at 95 %."""

    low: float
    high: float
    n_eff: float


def korn_graubard(good_by_day: Counts, windows_by_day: Counts) -> DayBounds:
    """The exact binomial interval at the effective sample size of whole days (§4.3 a; Korn and Graubard 1998).

    Days without a window are no clusters and left out. ValueError below two days.
    """
    clusters = windows_by_day > 0
    days = int(np.count_nonzero(clusters))
    if days < DAYS_FOR_VARIANCE:
        raise ValueError(f"{days} days have no variance between days")
    windows, good = int(windows_by_day.sum()), int(good_by_day.sum())
    residuals = (good_by_day[clusters] * windows - good * windows_by_day[clusters]).tolist()
    n_eff, n_star = _effective(windows, good, days, sum(residual**2 for residual in residuals))
    # At p = 0 and p = 1 the products are exact, so that Clopper-Pearson sees its edges.
    bounds = clopper_pearson(good / windows * n_star, n_star)
    return DayBounds(low=bounds.low, high=bounds.high, n_eff=n_eff)


def _effective(windows: int, good: int, days: int, squares: int) -> tuple[float, float]:
    """n_eff and n* from the sum of (g_d N - G n_d)^2, which is N^4 times the sum of e_d^2.

    In whole numbers (too large for 64 bits), so that days that are all alike have a variance of exactly 0, and the
    order of days changes no digit.
    """
    p = good / windows
    variance = days * squares / ((days - 1) * windows**4)
    n_eff = p * (1 - p) / variance if variance else float(windows)
    fewer = special.stdtrit(windows - 1, _UPPER) / special.stdtrit(days - 1, _UPPER)
    return n_eff, min(float(windows), n_eff * float(fewer) ** 2)


_UPPER = 1 - (1 - CONFIDENCE) / 2
