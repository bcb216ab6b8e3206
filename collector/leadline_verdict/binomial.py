"""Exact bounds on proportions and counts (method.md §4.1).

They hold for independent trials. Probes and windows of one path are not: claims on shares go through
``leadline_verdict.compliance_share``, which counts days and episodes instead.
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
    """The equal-tailed exact interval; for claims. Fractions of trials (an effective sample size) are allowed."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} of {trials} is no proportion")
    tail = (1 - confidence) / 2
    failures = trials - successes
    return ConfidenceBounds(
        low=float(special.betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0,
        high=float(special.betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0,
    )


def poisson_upper_bound(count: int, confidence: float) -> float:
    """The upper bound on the mean of a Poisson count (Garwood 1936): chi2inv(confidence; 2 count + 2) / 2."""
    return float(special.gammaincinv(count + 1, confidence))


def poisson_lower_bound(count: int, confidence: float) -> float:
    """The lower bound on the mean of a Poisson count: chi2inv(1 - confidence; 2 count) / 2, and 0 after none."""
    return float(special.gammaincinv(count, 1 - confidence)) if count else 0.0


def trials_needed(ratio: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """How many trials with so many failures show that their share is below ``ratio``, one-sided.

    ceil(ln 0.05 / ln(1 - ratio)) without a failure: 299 for 1 %, 2,995 for 0.1 %.
    """
    if not 0 < ratio < 1 or failures < 0:
        raise ValueError(f"no number of trials with {failures} failures shows a share below {ratio}")
    # The Poisson bound needs a little more, so the answer is below it; + 1 keeps rounding out of it.
    enough = ceil(poisson_upper_bound(failures, confidence) / ratio) + failures + 1
    candidates = range(failures + 1, enough + 1)
    found = bisect_left(candidates, True, key=lambda n: _binomial_cdf(failures, n, ratio) <= 1 - confidence)
    return candidates[found]


def additional_probes_needed(sent: int, lost: int, limit_ratio: float, confidence: float = CONFIDENCE) -> int:
    """How many more probes, none of them lost, would show that the loss is below the limit; 0 when it is shown."""
    if not 0 <= lost <= sent:
        raise ValueError(f"{lost} of {sent} probes cannot be lost")
    return max(0, trials_needed(limit_ratio, lost, confidence) - sent)


def _binomial_cdf(count: int, trials: int, ratio: float) -> float:
    """P(X <= count), X binomial; through the beta function, which is exact for ratios as small as 1e-9."""
    return float(special.betaincc(count + 1, trials - count, ratio))
