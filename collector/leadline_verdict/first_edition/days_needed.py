"""Days of further measurement that demonstrate a target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.first_edition.share_interval import (
    UNSEEN_OUTAGE_WINDOWS,
    PeriodObservation,
    compute_share_interval,
)

#: Limit of the search; 99.99 % without any episode takes 624 days.
DAYS_AHEAD_MAX = 1_000


def compute_days_needed(
    worst_case: PeriodObservation, target: float, *, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> int | None:
    """Return the smallest number of further whole days, all known and good, that demonstrates ``target``.

    A lower bound, not a forecast: another episode increases it. 0 if the target is demonstrated already, None if 1,000
    days are not enough. The target is a share between one half and 1. The result agrees with the lower bound of
    ``compute_share_interval`` after these days.
    """
    if not 0.5 < target < 1:
        raise ValueError(f"a target of {target} is not between one half and 1")

    def is_demonstrated(days: int) -> bool:
        return _lower_bound_after(worst_case, days, unseen_outage_windows) >= target

    if is_demonstrated(0):
        return 0
    if not is_demonstrated(DAYS_AHEAD_MAX):
        return None
    # Bisection is correct: after identical days the first good days lower the bound, because they add variance; later
    # ones raise it. Once the bound is below the target, it crosses the target only once.
    low, high = 0, DAYS_AHEAD_MAX
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_demonstrated(middle) else (middle, high)
    return high


def _lower_bound_after(observation: PeriodObservation, days: int, unseen_outage_windows: int) -> float:
    """Return the demonstrated share after ``days`` further good days."""
    good_days = np.full(days, WINDOWS_PER_DAY, dtype=np.int64)
    after = replace(
        observation,
        good_by_day=np.concatenate([observation.good_by_day, good_days]),
        windows_by_day=np.concatenate([observation.windows_by_day, good_days]),
    )
    return compute_share_interval(after, unseen_outage_windows=unseen_outage_windows).low
