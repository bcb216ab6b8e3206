"""Verdict class from the windows alone, steps 4 to 8 of method.md §6.2.

Rule 1: everything is computed in the worst case and in the best case. "Within" must be true in the worst case, "beyond"
in the best case.
Rule 2: the class must not depend on unknown minutes. It is computed with all of them bad and with all of them good; if
the results differ, the data are insufficient.
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
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.states import BAD, GOOD, MinuteMask, ScenarioStates

#: Smallest share of known windows of a valid period (§3.2).
COVERAGE_MIN = 0.95
#: Largest share of unknown windows for ``missing = mar`` (§3.3).
MAR_UNKNOWN_RATIO_MAX = 0.01


class MissingPolicy(StrEnum):
    """Treatment of unknown minutes."""

    #: Bad in the worst case, good in the best case.
    BAD = "bad"
    #: Missing at random: excluded if every gap has a logged cause other than the path.
    MAR = "mar"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRule:
    """Parameters of a verdict; all are reported with it."""

    target_share: float = TARGET_SHARE_DEFAULT
    unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
    missing_policy: MissingPolicy = MissingPolicy.BAD
    use_error_bound: bool = True
    edition: RuleEdition = RuleEdition.SECOND

    def __post_init__(self) -> None:
        if not 0.5 < self.target_share < 1:
            raise ValueError(f"a target share of {self.target_share} is not between one half and 1")
        if self.unseen_outage_windows < 1:
            raise ValueError(
                f"an unseen outage of {self.unseen_outage_windows} minutes is too short; use at least 1 minute"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioIntervals:
    """Intervals of a period in both cases; None if the period is too short for an interval."""

    worst_case: ComplianceInterval | None
    best_case: ComplianceInterval | None

    def classify(self, target_share: float) -> VerdictClass:
        """Return BEYOND, WITHIN or MARGINAL."""
        if self.best_case is not None and self.best_case.high < target_share:
            return VerdictClass.BEYOND
        if self.worst_case is not None and self.worst_case.low >= target_share:
            return VerdictClass.WITHIN
        return VerdictClass.MARGINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVerdict:
    """Result of the windows alone, without propagation delay and other requirements."""

    verdict_class: VerdictClass
    #: Unknown minutes count as bad in the worst case and as good in the best case.
    intervals: ScenarioIntervals
    #: Input of the worst-case interval; the days still needed are computed from it.
    worst_case_observation: PeriodObservation | None
    #: Class with all unknown minutes bad.
    class_if_bad: VerdictClass
    #: Class with all unknown minutes good.
    class_if_good: VerdictClass
    days: int
    coverage: float
    #: True if unknown minutes were excluded.
    has_excluded_unknown: bool = False


def classify_period(
    states: ScenarioStates, rule: VerdictRule, explained_minutes: MinuteMask | None = None
) -> MeasuredVerdict:
    """Classify whole UTC days. ``explained_minutes`` are missing for a logged cause other than the path."""
    exclude_unknown = _can_exclude_unknown(rule, states.unknown_minutes, explained_minutes)
    intervals, observation = _compute_intervals(
        states.with_unknown_as(BAD), states.with_unknown_as(GOOD), rule, states.unknown_minutes & exclude_unknown
    )
    if_bad = if_good = intervals.classify(rule.target_share)
    if not exclude_unknown and states.unknown_minutes.any():
        if_bad, if_good = (_classify_scenario(states.with_unknown_as(state), rule) for state in (BAD, GOOD))
    days = len(states) // WINDOWS_PER_DAY
    coverage = 1 - int(np.count_nonzero(states.unknown_minutes)) / len(states)
    is_enough = days >= CAMPAIGN_DAYS_PROVISIONAL and coverage >= COVERAGE_MIN and if_bad is if_good
    return MeasuredVerdict(
        verdict_class=if_bad if is_enough else VerdictClass.INSUFFICIENT_DATA,
        intervals=intervals,
        worst_case_observation=observation,
        class_if_bad=if_bad,
        class_if_good=if_good,
        days=days,
        coverage=coverage,
        has_excluded_unknown=exclude_unknown,
    )


def _can_exclude_unknown(rule: VerdictRule, unknown: MinuteMask, explained: MinuteMask | None) -> bool:
    """True if there are unknown minutes and they may count as missing at random (§3.3)."""
    if rule.missing_policy is not MissingPolicy.MAR or explained is None or not unknown.any():
        return False
    is_few = int(np.count_nonzero(unknown)) <= MAR_UNKNOWN_RATIO_MAX * len(unknown)
    return is_few and bool(np.all(explained[unknown]))


def _compute_intervals(
    worst: ScenarioStates, best: ScenarioStates, rule: VerdictRule, excluded_minutes: MinuteMask
) -> tuple[ScenarioIntervals, PeriodObservation | None]:
    counted = ~excluded_minutes
    if not counted.any():
        return ScenarioIntervals(worst_case=None, best_case=None), None
    low_observation = observe_period(worst.worst_case == GOOD, counted)
    high_observation = observe_period(best.best_case == GOOD, counted)
    return ScenarioIntervals(
        worst_case=_compute_interval(low_observation, rule), best_case=_compute_interval(high_observation, rule)
    ), low_observation


def _classify_scenario(states: ScenarioStates, rule: VerdictRule) -> VerdictClass:
    no_minutes = np.zeros(len(states), dtype=np.bool_)
    return _compute_intervals(states, states, rule, no_minutes)[0].classify(rule.target_share)


def _compute_interval(observation: PeriodObservation, rule: VerdictRule) -> ComplianceInterval | None:
    """Return None for a single day: it has no variance between days."""
    if len(observation.windows_by_day) < DAYS_MIN_FOR_VARIANCE:
        return None
    return compute_share_interval(observation, unseen_outage_windows=rule.unseen_outage_windows)
