"""Verdict class from the windows alone, first edition (method.md §6.2, steps 4 to 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL, WINDOWS_PER_DAY
from leadline_verdict.decision import COVERAGE_MIN, MeasuredVerdict, ScenarioIntervals, VerdictRule, can_exclude_unknown
from leadline_verdict.document import VerdictClass
from leadline_verdict.first_edition.share_interval import (
    DAYS_MIN_FOR_VARIANCE,
    PeriodObservation,
    compute_share_interval,
    observe_period,
)
from leadline_verdict.share_interval import ShareInterval
from leadline_verdict.states import BAD, GOOD, MinuteMask, ScenarioStates


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMeasuredVerdict(MeasuredVerdict):
    """A measured verdict with the observation of its worst case; None if no minute counts."""

    worst_case_observation: PeriodObservation | None


def classify_period(
    states: ScenarioStates, rule: VerdictRule, explained_minutes: MinuteMask | None = None
) -> FirstMeasuredVerdict:
    """Classify whole UTC days. ``explained_minutes`` are missing for a logged cause other than the path."""
    exclude_unknown = can_exclude_unknown(rule, states.unknown_minutes, explained_minutes)
    intervals, observation = _compute_intervals(
        states.with_unknown_as(BAD), states.with_unknown_as(GOOD), rule, states.unknown_minutes & exclude_unknown
    )
    if_bad = if_good = intervals.classify(rule.target_share)
    if not exclude_unknown and states.unknown_minutes.any():
        if_bad, if_good = (_classify_scenario(states.with_unknown_as(state), rule) for state in (BAD, GOOD))
    days = len(states) // WINDOWS_PER_DAY
    coverage = 1 - int(np.count_nonzero(states.unknown_minutes)) / len(states)
    is_enough = days >= CAMPAIGN_DAYS_PROVISIONAL and coverage >= COVERAGE_MIN and if_bad is if_good
    return FirstMeasuredVerdict(
        verdict_class=if_bad if is_enough else VerdictClass.INSUFFICIENT_DATA,
        intervals=intervals,
        worst_case_observation=observation,
        class_if_bad=if_bad,
        class_if_good=if_good,
        days=days,
        coverage=coverage,
        has_excluded_unknown=exclude_unknown,
    )


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


def _compute_interval(observation: PeriodObservation, rule: VerdictRule) -> ShareInterval | None:
    """Return None for a single day: it has no variance between days."""
    if len(observation.windows_by_day) < DAYS_MIN_FOR_VARIANCE:
        return None
    return compute_share_interval(observation, unseen_outage_windows=rule.unseen_outage_windows)
