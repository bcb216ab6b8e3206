"""From both readings of a period to what the windows alone say, in the order of method.md §6.2 from 4 on.

Rule 1: everything is computed in two readings. "Within" has to hold in the least favourable one, "beyond" in the most
favourable one.
Rule 2: the word must not hang on minutes that nobody knows: it is found once with all of them bad and once with all of
them good, and where the two differ the data are insufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL, TARGET_SHARE_DEFAULT, UNSEEN_OUTAGE_WINDOWS, WINDOWS_PER_DAY
from leadline_verdict.compliance_share import (
    DAYS_MIN_FOR_VARIANCE,
    ComplianceInterval,
    PeriodObservation,
    compute_share_interval,
    observe_period,
)
from leadline_verdict.document import VerdictClass
from leadline_verdict.states import BAD, GOOD, MinuteMask, ScenarioStates

#: A period is valid with so many of its windows known (§3.2).
COVERAGE_MIN = 0.95
#: ``missing = mar`` is allowed up to so many unknown windows (§3.3).
MAR_UNKNOWN_RATIO_MAX = 0.01


class MissingPolicy(StrEnum):
    """What becomes of minutes that nobody knows."""

    #: Bad in the pessimistic reading, good in the optimistic one.
    BAD = "bad"
    #: Missing at random: where every gap has a logged cause that is not the path, they leave the count.
    MAR = "mar"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRule:
    """The choices of a verdict; all are printed with it."""

    target_share: float = TARGET_SHARE_DEFAULT
    unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
    missing_policy: MissingPolicy = MissingPolicy.BAD
    use_error_bound: bool = True

    def __post_init__(self) -> None:
        if not 0.5 < self.target_share < 1:
            raise ValueError(f"a target share of {self.target_share} is not between one half and 1")
        if self.unseen_outage_windows < 1:
            raise ValueError(f"an unseen episode of {self.unseen_outage_windows} minutes is no assumption")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioIntervals:
    """What a period shows in both readings, with unknown minutes taken for one thing; None: too short for bounds."""

    worst_case: ComplianceInterval | None
    best_case: ComplianceInterval | None

    def classify(self, target_share: float) -> VerdictClass:
        """BEYOND, WITHIN or MARGINAL."""
        if self.best_case is not None and self.best_case.high < target_share:
            return VerdictClass.BEYOND
        if self.worst_case is not None and self.worst_case.low >= target_share:
            return VerdictClass.WITHIN
        return VerdictClass.MARGINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVerdict:
    """What the windows say, before physics and requirements that no window shows."""

    verdict_class: VerdictClass
    #: The strictest of both: unknown minutes bad in the pessimistic reading, good in the optimistic one.
    intervals: ScenarioIntervals
    #: What the pessimistic interval was computed from: for how much longer to measure.
    worst_case_observation: PeriodObservation | None
    #: The words with every unknown minute bad, and good; alike unless they decide.
    class_if_bad: VerdictClass
    class_if_good: VerdictClass
    days: int
    coverage: float
    #: Unknown minutes were left out of the count.
    has_excluded_unknown: bool = False


def classify_period(
    states: ScenarioStates, rule: VerdictRule, explained_minutes: MinuteMask | None = None
) -> MeasuredVerdict:
    """Judge whole UTC days. ``explained`` are minutes whose absence has a logged cause that is not the path."""
    left_out = _can_exclude_unknown(rule, states.unknown_minutes, explained_minutes)
    claim, observed = _compute_intervals(
        states.with_unknown_as(BAD), states.with_unknown_as(GOOD), rule, states.unknown_minutes & left_out
    )
    if_bad = if_good = claim.classify(rule.target_share)
    if not left_out and states.unknown_minutes.any():
        if_bad, if_good = (_classify_scenario(states.with_unknown_as(state), rule) for state in (BAD, GOOD))
    days = len(states) // WINDOWS_PER_DAY
    coverage = 1 - int(np.count_nonzero(states.unknown_minutes)) / len(states)
    is_enough = days >= CAMPAIGN_DAYS_PROVISIONAL and coverage >= COVERAGE_MIN and if_bad is if_good
    return MeasuredVerdict(
        verdict_class=if_bad if is_enough else VerdictClass.INSUFFICIENT_DATA,
        intervals=claim,
        worst_case_observation=observed,
        class_if_bad=if_bad,
        class_if_good=if_good,
        days=days,
        coverage=coverage,
        has_excluded_unknown=left_out,
    )


def _can_exclude_unknown(rule: VerdictRule, unknown: MinuteMask, explained: MinuteMask | None) -> bool:
    """Whether unknown minutes may be taken for minutes like the others (§3.3), and there are any."""
    if rule.missing_policy is not MissingPolicy.MAR or explained is None or not unknown.any():
        return False
    few = int(np.count_nonzero(unknown)) <= MAR_UNKNOWN_RATIO_MAX * len(unknown)
    return few and bool(np.all(explained[unknown]))


def _compute_intervals(
    worst: ScenarioStates, best: ScenarioStates, rule: VerdictRule, without: MinuteMask
) -> tuple[ScenarioIntervals, PeriodObservation | None]:
    counted = ~without
    if not counted.any():
        return ScenarioIntervals(worst_case=None, best_case=None), None
    low, high = observe_period(worst.worst_case == GOOD, counted), observe_period(best.best_case == GOOD, counted)
    return ScenarioIntervals(worst_case=_compute_interval(low, rule), best_case=_compute_interval(high, rule)), low


def _classify_scenario(supposed: ScenarioStates, rule: VerdictRule) -> VerdictClass:
    nothing = np.zeros(len(supposed), dtype=np.bool_)
    return _compute_intervals(supposed, supposed, rule, nothing)[0].classify(rule.target_share)


def _compute_interval(observed: PeriodObservation, rule: VerdictRule) -> ComplianceInterval | None:
    """None for a single day, which has no variance between days."""
    if len(observed.windows_by_day) < DAYS_MIN_FOR_VARIANCE:
        return None
    return compute_share_interval(observed, unseen_outage_windows=rule.unseen_outage_windows)
