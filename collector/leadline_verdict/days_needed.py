"""How much longer to measure: from what was seen to the days still needed for a target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leadline.evaluation import UNSEEN_OUTAGE_WINDOWS, WINDOWS_PER_DAY
from leadline_verdict.compliance_share import PeriodObservation, compute_share_interval

#: Nobody plans a campaign further ahead than this: 99.99 % without any episode takes 624 days.
DAYS_AHEAD_MAX = 1_000


def compute_days_needed(
    worst_case: PeriodObservation, target: float, *, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> int | None:
    """The least number of further whole days, all known and all good, after which ``target`` is demonstrated.

    A floor, not a forecast: one more episode takes longer. 0 when it is demonstrated now, None when 1,000 such days
    would not do. Share and target are 0..1, the target above one half. What was seen stays as it is, so this is
    exactly the lower bound of ``share_interval`` after these days.
    """
    if not 0.5 < target < 1:
        raise ValueError(f"a target of {target} is not between one half and 1")

    def shown(days: int) -> bool:
        return _lower_bound_after(worst_case, days, unseen_outage_windows) >= target

    if shown(0):
        return 0
    if not shown(DAYS_AHEAD_MAX):
        return None
    # Halving is enough: the first clean days after days that were all alike lower the bound, by the variance they
    # bring, and from there on it rises. So once it is below the target it crosses it a single time.
    low, high = 0, DAYS_AHEAD_MAX
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def _lower_bound_after(observed: PeriodObservation, days: int, unseen_windows: int) -> float:
    """The demonstrated share after so many further days without anything bad."""
    full = np.full(days, WINDOWS_PER_DAY, dtype=np.int64)
    after = replace(
        observed,
        good_by_day=np.concatenate([observed.good_by_day, full]),
        windows_by_day=np.concatenate([observed.windows_by_day, full]),
    )
    return compute_share_interval(after, unseen_outage_windows=unseen_windows).low
