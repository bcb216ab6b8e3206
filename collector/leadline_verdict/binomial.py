"""Exact confidence bounds on proportions and counts (method.md §4.1).

They are valid for independent trials. Probes and windows of one path are not independent: claims about shares use
``leadline_verdict.share_bounds``, which counts days and episodes instead.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil

from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceBounds:
    """Two-sided bounds on a proportion (0..1)."""

    low: float
    high: float


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> ConfidenceBounds:
    """Return the equal-tailed exact interval. Non-integer trials (an effective sample size) are allowed."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} of {trials} is not a proportion")
    tail = (1 - confidence) / 2
    failures = trials - successes
    return ConfidenceBounds(
        low=float(special.betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0,
        high=float(special.betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0,
    )


def poisson_upper_bound(count: int, confidence: float) -> float:
    """Return the upper bound on the mean of a Poisson count (Garwood 1936): chi2inv(confidence; 2 count + 2) / 2."""
    return float(special.gammaincinv(count + 1, confidence))


def poisson_lower_bound(count: int, confidence: float) -> float:
    """Return the lower bound on the mean of a Poisson count: chi2inv(1 - confidence; 2 count) / 2; 0 for count 0."""
    return float(special.gammaincinv(count, 1 - confidence)) if count else 0.0


def trials_needed(ratio: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Return the number of trials with ``failures`` failures that demonstrates a failure ratio below ``ratio``.

    One-sided; ceil(ln 0.05 / ln(1 - ratio)) without a failure: 299 for 1 %, 2,995 for 0.1 %.
    """
    if not 0 < ratio < 1 or failures < 0:
        raise ValueError(f"no number of trials with {failures} failures demonstrates a ratio below {ratio}")
    # The Poisson bound needs slightly more trials, so it is an upper limit of the search; + 1 covers rounding.
    trials_max = ceil(poisson_upper_bound(failures, confidence) / ratio) + failures + 1
    candidates = range(failures + 1, trials_max + 1)
    index = bisect_left(candidates, True, key=lambda n: _binomial_cdf(failures, n, ratio) <= 1 - confidence)
    return candidates[index]


def additional_probes_needed(sent: int, lost: int, limit_ratio: float, confidence: float = CONFIDENCE) -> int:
    """Return how many more probes without loss would demonstrate a loss below the limit; 0 if it is demonstrated."""
    if not 0 <= lost <= sent:
        raise ValueError(f"{lost} lost probes of {sent} sent are impossible")
    return max(0, trials_needed(limit_ratio, lost, confidence) - sent)


def _binomial_cdf(count: int, trials: int, ratio: float) -> float:
    """Return P(X <= count) for binomial X, from the beta function, which is exact for ratios as small as 1e-9."""
    return float(special.betaincc(count + 1, trials - count, ratio))
