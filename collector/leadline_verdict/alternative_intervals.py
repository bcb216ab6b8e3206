"""Other lower bounds on the share of good windows, for the sensitivity table. No verdict is based on them.

The simulation (docs/simulation.md) shows that the bootstrap covers the truth less often than the rule's bound.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from leadline_verdict.binomial import CONFIDENCE
from leadline_verdict.share_bounds import BadMinutes

#: Resamples, and mean length of a block in days. The seed is fixed: the same windows give the same bound.
_RESAMPLES, _BLOCK_DAYS, _SEED = 400, 2.0, 1


def compute_f_bound(observed: BadMinutes) -> float:
    """Return the bound for a Poisson number of episodes of exponential length, both unknown.

    The ratio of a rate from k events to a mean of k lengths has an F distribution with 2k + 2 and 2k degrees. 0 without
    an episode, because the mean length then has no bound.
    """
    count = len(observed.spans)
    if not count:
        return 0.0
    quantile = float(special.fdtri(2 * count + 2, 2 * count, CONFIDENCE))
    mean = float(observed.spans.mean())
    return max(0.0, 1 - (count + 1) * mean * quantile / observed.minutes)


def compute_bootstrap_low(observed: BadMinutes) -> float:
    """Return the 2.5 % quantile of the share over stationary bootstrap resamples of days (Politis and Romano 1994)."""
    days = len(observed.bad_by_day)
    rng = np.random.default_rng(_SEED)
    starts_block = rng.random((_RESAMPLES, days)) < 1 / _BLOCK_DAYS
    starts_block[:, 0] = True
    drawn = rng.integers(0, days, (_RESAMPLES, days))
    position = np.arange(days)
    block_start = np.maximum.accumulate(np.where(starts_block, position, 0), axis=1)
    index = (np.take_along_axis(drawn, block_start, axis=1) + position - block_start) % days
    bad = observed.bad_by_day[index].sum(axis=1)
    minutes = observed.minutes_by_day[index].sum(axis=1)
    shares = 1 - bad / np.maximum(minutes, 1)
    return float(np.quantile(shares, (1 - CONFIDENCE) / 2, method="inverted_cdf"))
