"""Dates from which more can be said about a pair that is measured too briefly.

A date assumes that the measurement goes on without a further unknown or bad minute, so it is the earliest one for a
period with this start. A later period, without the bad minutes of this one, may need fewer days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from leadline.clock import format_iso8601
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline_verdict.decision import COVERAGE_MIN, MeasuredVerdict, PeriodVerdict, VerdictRule
from leadline_verdict.document import MilestoneSection, Reason, VerdictClass
from leadline_verdict.pair import PairWindows
from leadline_verdict.reasons import make_reason
from leadline_verdict.share_bounds import BadMinutes, LowerBound

_DAY_S, _DAY_WINDOWS = 86_400, 1_440
#: Longest campaign that is searched for a date.
_DAYS_MAX = 2_000


def _find_days(
    observed: BadMinutes, target_share: float, compute_bound: Callable[[BadMinutes], LowerBound]
) -> int | None:
    """Return the smallest number of further days with which a bound reaches the target; None if there is none."""

    def is_demonstrated(days: int) -> bool:
        return compute_bound(extend(observed, days)).low >= target_share

    if is_demonstrated(0):
        return 0
    if not is_demonstrated(_DAYS_MAX):
        return None
    low, high = 0, _DAYS_MAX
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_demonstrated(middle) else (middle, high)
    return high


def extend(observed: BadMinutes, days: int) -> BadMinutes:
    """Return the period with further days, all known and good."""
    return BadMinutes(
        bad_by_day=np.concatenate([observed.bad_by_day, np.zeros(days, dtype=np.int64)]),
        minutes_by_day=np.concatenate([observed.minutes_by_day, np.full(days, _DAY_WINDOWS, dtype=np.int64)]),
        spans=observed.spans,
    )


def compute_days_needed(measured: PeriodVerdict, rule: VerdictRule) -> int | None:
    """Return the smallest number of further days, all known and good, that demonstrates "within".

    0 if it is demonstrated, None if 2,000 days are not enough.
    """
    if not measured.worst_case_bad.minutes:
        return None
    return _find_days(measured.worst_case_bad, rule.target_share, measured.allowance.compute_low)


def list_milestones(
    pair: PairWindows, measured: MeasuredVerdict, rule: VerdictRule, *, has_lasting_proviso: bool
) -> list[MilestoneSection]:
    """Return the dates that are after the period, the earliest first; none for a pair without a window.

    ``has_lasting_proviso``: an open point that no further day removes makes every "within" provisional.
    """
    assert isinstance(measured, PeriodVerdict)
    if pair.measured_since_s is None and all(series.find_first_minute() == len(series) for series in pair.series):
        return []
    days = pair.whole_days
    observed = measured.worst_case_bad if days else _no_days()
    for_coverage = _count_days_for_coverage(measured, days)
    needed: list[tuple[VerdictClass, int | None]] = [
        (VerdictClass.BEYOND_PROVISIONAL, 1 - days),
        (VerdictClass.BEYOND, CAMPAIGN_DAYS_PROVISIONAL - days),
        (VerdictClass.MARGINAL, max(CAMPAIGN_DAYS_PROVISIONAL - days, for_coverage)),
    ]
    for word, compute_bound in (
        (VerdictClass.WITHIN_PROVISIONAL, measured.allowance.compute_low_provisional),
        (VerdictClass.WITHIN, measured.allowance.compute_low),
    ):
        if word is VerdictClass.WITHIN and has_lasting_proviso:
            continue
        found = _find_days(observed, rule.target_share, compute_bound)
        needed.append((word, None if found is None else max(found, CAMPAIGN_DAYS - days, for_coverage)))
    start_s = pair.whole_days_start_s
    return [
        MilestoneSection(
            verdict=word.value,
            days=days + further,
            at_s=start_s + (days + further) * _DAY_S,
            at_iso=format_iso8601(start_s + (days + further) * _DAY_S),
        )
        for word, further in needed
        if further is not None and further > 0
    ]


def _no_days() -> BadMinutes:
    empty = np.zeros(0, dtype=np.int64)
    return BadMinutes(bad_by_day=empty, minutes_by_day=empty, spans=empty)


def _count_days_for_coverage(measured: MeasuredVerdict, days: int) -> int:
    """Return the number of further complete days after which 95 % of the minutes are known."""
    if not days or measured.coverage >= COVERAGE_MIN:
        return 0
    return ceil(days * (1 - measured.coverage) / (1 - COVERAGE_MIN)) - days


_WORDS = {
    VerdictClass.BEYOND_PROVISIONAL.value: "beyond, provisionally",
    VerdictClass.BEYOND.value: "beyond",
    VerdictClass.MARGINAL.value: "marginal",
    VerdictClass.WITHIN_PROVISIONAL.value: "within, provisionally",
    VerdictClass.WITHIN.value: "within",
}


def describe_milestones(pair: PairWindows, milestones: Sequence[MilestoneSection]) -> Reason:
    """Return the reason with the dates."""
    since = "" if pair.measured_since_s is None else f"measured since {format_iso8601(pair.measured_since_s)}; "
    dates: dict[str, list[str]] = {}
    for milestone in milestones:
        words = dates.setdefault(milestone.at_iso[:10], [])
        words.append(_WORDS[milestone.verdict])
        if (
            milestone.verdict == VerdictClass.WITHIN
            and (provisional := _WORDS[VerdictClass.WITHIN_PROVISIONAL]) in words
        ):
            words.remove(provisional)
    is_young = 0 < pair.whole_days < CAMPAIGN_DAYS_PROVISIONAL
    today = "; until then it can only be beyond, provisionally" if is_young else ""
    texts = [f"from {day} it can be {' or '.join(words)}" for day, words in dates.items()]
    text = f"{since}{'; '.join(texts)}; every further minute must be known, and for within also good{today}"
    if not texts:
        text = f"{since}no date can be given: more known minutes are needed"
    return make_reason("dates", text, **{milestone.verdict: milestone.at_iso for milestone in milestones})
