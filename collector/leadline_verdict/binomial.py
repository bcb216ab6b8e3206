"""Exact bounds on proportions, quantiles and rates from counts (method.md §4.1).

They hold for independent trials. Probes and windows of one path are not: claims on shares go through
``leadline_verdict.shares``, which counts days and episodes instead.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil, sqrt

from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Two-sided bounds on a proportion (0..1) or a rate (at least 0)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which order statistics bound a quantile, counted from 1; None where the sample is too small for that bound."""

    low: int | None
    high: int | None


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> Bounds:
    """The equal-tailed exact interval; for claims. Fractions of trials (an effective sample size) are allowed."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} of {trials} is no proportion")
    tail = (1 - confidence) / 2
    failures = trials - successes
    return Bounds(
        low=float(special.betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0,
        high=float(special.betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0,
    )


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Bounds:
    """The score interval (Wilson 1927, no continuity correction): for dashboards, too short for claims."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} of {trials} is no proportion")
    z = float(special.ndtri(1 - (1 - confidence) / 2))
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Bounds(
        low=(middle - half) / scale if successes else 0.0,
        high=(middle + half) / scale if successes < trials else 1.0,
    )


def count_at_most(count: int, confidence: float) -> float:
    """The upper bound on the mean of a Poisson count (Garwood 1936): chi2inv(confidence; 2 count + 2) / 2."""
    return float(special.gammaincinv(count + 1, confidence))


def count_at_least(count: int, confidence: float) -> float:
    """The lower bound on the mean of a Poisson count: chi2inv(1 - confidence; 2 count) / 2, and 0 after none."""
    return float(special.gammaincinv(count, 1 - confidence)) if count else 0.0


def rate_per_day(events: int, days: float, confidence: float = CONFIDENCE) -> Bounds:
    """The two-sided Garwood interval on how often something happens: 0 to 0.1317 a day after none in 28."""
    if events < 0 or days <= 0:
        raise ValueError(f"{events} events in {days} days is no rate")
    one_sided = 1 - (1 - confidence) / 2
    return Bounds(low=count_at_least(events, one_sided) / days, high=count_at_most(events, one_sided) / days)


def quantile_ranks(samples: int, quantile: float, confidence: float = CONFIDENCE) -> Ranks:
    """The order statistics between which a quantile (0..1) lies; conservative, each tail at most half of the rest.

    The low one is the largest l with P(X < l) <= tail, the high one the smallest u with P(X >= u) <= tail, where X is
    binomial (samples, quantile). For either alone, one-sided, ask for the confidence 2 c - 1.
    """
    if samples < 1 or not 0 < quantile < 1:
        raise ValueError(f"the {quantile} quantile of {samples} samples has no ranks")
    tail = (1 - confidence) / 2
    low = bisect_left(range(samples), True, key=lambda k: _at_most(k, samples, quantile) > tail)
    high = bisect_left(range(1, samples + 1), True, key=lambda k: _at_least(k, samples, quantile) <= tail) + 1
    return Ranks(low=low or None, high=high if high <= samples else None)


def exceedances_to_show_above(samples: int, quantile: float, confidence: float = CONFIDENCE) -> int | None:
    """So many samples above a limit show, one-sided, that the quantile is above it; None if none suffices."""
    low = quantile_ranks(samples, quantile, 2 * confidence - 1).low
    return None if low is None else samples - low + 1


def exceedances_allowed(samples: int, quantile: float, confidence: float = CONFIDENCE) -> int | None:
    """With at most so many samples above a limit it is shown, one-sided, that the quantile is not; None: too few."""
    high = quantile_ranks(samples, quantile, 2 * confidence - 1).high
    return None if high is None else samples - high


def trials_needed(ratio: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """How many trials with so many failures show that their share is below ``ratio``, one-sided.

    ceil(ln 0.05 / ln(1 - ratio)) without a failure: 299 for 1 %, 2,995 for 0.1 %.
    """
    if not 0 < ratio < 1 or failures < 0:
        raise ValueError(f"no number of trials with {failures} failures shows a share below {ratio}")
    # The Poisson bound needs a little more, so the answer is below it; + 1 keeps rounding out of it.
    enough = ceil(count_at_most(failures, confidence) / ratio) + failures + 1
    candidates = range(failures + 1, enough + 1)
    found = bisect_left(candidates, True, key=lambda n: _failures_at_most(failures, n, ratio) <= 1 - confidence)
    return candidates[found]


def probes_still_needed(sent: int, lost: int, limit_ratio: float, confidence: float = CONFIDENCE) -> int:
    """How many more probes, none of them lost, would show that the loss is below the limit; 0 when it is shown."""
    if not 0 <= lost <= sent:
        raise ValueError(f"{lost} of {sent} probes cannot be lost")
    return max(0, trials_needed(limit_ratio, lost, confidence) - sent)


def _failures_at_most(count: int, trials: int, ratio: float) -> float:
    """P(X <= count), X binomial; through the beta function, which is exact for ratios as small as 1e-9."""
    return float(special.betaincc(count + 1, trials - count, ratio))


def _at_most(count: int, trials: int, share: float) -> float:
    return 1.0 if count >= trials else _failures_at_most(count, trials, share)


def _at_least(count: int, trials: int, share: float) -> float:
    return float(special.betainc(count, trials - count + 1, share))
