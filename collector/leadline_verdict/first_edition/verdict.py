"""Verdict on a directed pair for one profile, first edition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS
from leadline.propagation import Plausibility
from leadline.wire.batch import is_imported
from leadline_verdict import reasons, sections
from leadline_verdict.counterfactuals import find_counterfactuals
from leadline_verdict.decision import MeasuredVerdict, VerdictRule
from leadline_verdict.document import PairVerdict, Reason, SegmentSection, VerdictClass
from leadline_verdict.first_edition.days_needed import compute_days_needed
from leadline_verdict.first_edition.decision import FirstMeasuredVerdict, classify_period
from leadline_verdict.first_edition.loss import evaluate_loss
from leadline_verdict.first_edition.precedence import decide_verdict, iter_provisos
from leadline_verdict.hour_of_week import (
    VISITS_NEEDED,
    VISITS_NEEDED_PROVISIONAL,
    HourOfWeek,
    check_validity,
    count_hours_of_week,
)
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.propagation import build_propagation_section
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.sensitivity import build_sensitivity_section
from leadline_verdict.share_interval import IntervalMethod
from leadline_verdict.states import GOOD, ScenarioStates
from leadline_verdict.verdict_inputs import VerdictInputs

if TYPE_CHECKING:
    from leadline_verdict.change_points import ChangePointSegment

#: Number of days from which the confidence in a claim is strong (method.md §6.5).
STRONG_CONFIDENCE_DAYS = 63


def build_pair_verdict(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    change_segments: Sequence[ChangePointSegment] | None = None,
) -> PairVerdict:
    """Compute the verdict on one pair. ``change_segments`` come from ``sections.detect_pair_segments``."""
    inputs, hours = _collect_inputs(pair, requirements, rule)
    period_class, verdict_reasons = decide_verdict(inputs)
    shares = sections.build_shares_section(
        inputs.states, inputs.measured_verdict, _compute_days_needed(inputs.measured_verdict, rule)
    )
    episodes, episodes_total = sections.build_episodes_section(pair, inputs.states, with_causes=False)
    segments = sections.build_segments_section(
        pair, inputs.states, change_segments or (), lambda states: _classify_segment(states, rule)
    )
    verdict_class = _apply_last_segment(period_class, inputs, segments)
    return PairVerdict(
        source=pair.source,
        destination=pair.destination,
        profile=requirements.id,
        verdict=verdict_class,
        labels=list(_iter_labels(verdict_class, inputs.measured_verdict)),
        confidence=_rate_confidence(verdict_class, inputs.measured_verdict),
        reasons=[*_iter_segment_reasons(period_class, segments), *verdict_reasons, *_iter_notes(pair, inputs)],
        flips=find_counterfactuals(verdict_class, pair, inputs, shares),
        simulated=any(series.simulated for series in pair.series),
        paths=[f"{path.agent} to {path.target}" for path in pair.paths],
        coverage=inputs.measured_verdict.coverage,
        hours_missing=len({*inputs.validity.low_coverage_hours, *inputs.validity.low_visit_hours}),
        shares=shares,
        rtt=sections.build_rtt_section(pair),
        physics=inputs.propagation,
        loss=list(inputs.losses),
        episodes=episodes,
        episodes_total=episodes_total,
        migration=sections.build_migration_section(inputs.states),
        hours=sections.build_hours_section(hours),
        segments=segments,
        segments_agree=len(set(sections.iter_segment_classes(segments))) <= 1 if segments else None,
        sensitivity=build_sensitivity_section(
            pair,
            requirements,
            rule,
            inputs.measured_verdict,
            classify_period,
            lambda measured_verdict: _finalize_class(inputs, measured_verdict),
        ),
    )


def _compute_days_needed(measured_verdict: MeasuredVerdict, rule: VerdictRule) -> int | None:
    assert isinstance(measured_verdict, FirstMeasuredVerdict)
    observation = measured_verdict.worst_case_observation
    if observation is None or measured_verdict.intervals.worst_case is None:
        return None
    return compute_days_needed(observation, rule.target_share, unseen_outage_windows=rule.unseen_outage_windows)


def _classify_segment(states: ScenarioStates, rule: VerdictRule) -> VerdictClass | None:
    verdict_class = classify_period(states, rule).verdict_class
    return None if verdict_class is VerdictClass.INSUFFICIENT_DATA else verdict_class


def _collect_inputs(
    pair: PairWindows, requirements: RequirementSet, rule: VerdictRule
) -> tuple[VerdictInputs, tuple[HourOfWeek, ...]]:
    states = evaluate_pair(
        pair,
        requirements.criteria,
        requirements.loss_limits,
        use_error_bound=rule.use_error_bound,
        edition=rule.edition,
    )
    measured_verdict = classify_period(states, rule, pair.explained_minutes)
    hours = count_hours_of_week(states.worst_case == GOOD, ~states.unknown_minutes, pair.start_s)
    visits = VISITS_NEEDED if measured_verdict.days >= CAMPAIGN_DAYS else VISITS_NEEDED_PROVISIONAL
    rtt_min_us = pair.min_rtt_us()
    inputs = VerdictInputs(
        requirements=requirements,
        rule=rule,
        states=states,
        measured_verdict=measured_verdict,
        propagation=build_propagation_section(pair.propagation_delay, requirements.criteria, rtt_min_us),
        rtt_min_us=rtt_min_us,
        sent=sum(int(series.sent.sum(dtype=np.int64)) for series in pair.series),
        received=sum(int(series.received.sum(dtype=np.int64)) for series in pair.series),
        losses=[evaluate_loss(pair, loss) for loss in requirements.loss_limits if loss.window_s is None],
        validity=check_validity(hours, visits),
    )
    return inputs, hours


#: Classes that follow from windows; the class of the last segment may replace them.
_MEASURED_CLASSES = {VerdictClass.BEYOND, VerdictClass.MARGINAL, VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}


def _apply_last_segment(
    period_class: VerdictClass, inputs: VerdictInputs, segments: Sequence[SegmentSection]
) -> VerdictClass:
    """Return the class of the last segment if segments disagree and it is long enough to decide (method.md §4.4)."""
    if (
        period_class not in _MEASURED_CLASSES
        or len(set(sections.iter_segment_classes(segments))) < 2
        or segments[-1].verdict is None
    ):
        return period_class
    last_class = VerdictClass(segments[-1].verdict)
    days = (segments[-1].end_s - segments[-1].start_s) // 86_400
    if last_class is VerdictClass.WITHIN and (days < CAMPAIGN_DAYS or any(iter_provisos(inputs))):
        return VerdictClass.WITHIN_PROVISIONAL
    return last_class


def _iter_segment_reasons(period_class: VerdictClass, segments: Sequence[SegmentSection]) -> Iterator[Reason]:
    segment_classes = list(sections.iter_segment_classes(segments))
    if len(set(segment_classes)) > 1:
        yield reasons.segments_disagree(
            segment_classes, period_class, is_last_decisive=segments[-1].verdict is not None
        )


def _finalize_class(inputs: VerdictInputs, measured_verdict: MeasuredVerdict) -> VerdictClass:
    """Return the class of a measured verdict, provisional if this pair has open points."""
    if measured_verdict.verdict_class is VerdictClass.WITHIN and any(
        iter_provisos(replace(inputs, measured_verdict=measured_verdict))
    ):
        return VerdictClass.WITHIN_PROVISIONAL
    return measured_verdict.verdict_class


def _iter_labels(verdict_class: VerdictClass, measured_verdict: MeasuredVerdict) -> Iterator[str]:
    """Yield short labels for a path that is beyond."""
    if verdict_class is not VerdictClass.BEYOND or measured_verdict.intervals.best_case is None:
        return
    if measured_verdict.intervals.best_case.share == 0:
        yield "never"
    if measured_verdict.intervals.best_case.share < 0.5:
        yield "outside_more_than_half"


def _rate_confidence(verdict_class: VerdictClass, measured_verdict: MeasuredVerdict) -> str | None:
    if verdict_class not in {
        VerdictClass.BEYOND,
        VerdictClass.MARGINAL,
        VerdictClass.WITHIN,
        VerdictClass.WITHIN_PROVISIONAL,
    }:
        return None
    interval = measured_verdict.intervals.worst_case
    if (
        measured_verdict.days >= STRONG_CONFIDENCE_DAYS
        and interval
        and (interval.method is IntervalMethod.KORN_GRAUBARD or not interval.episodes)
    ):
        return "strong"
    return "adequate" if measured_verdict.days >= CAMPAIGN_DAYS else "weak"


def _iter_notes(pair: PairWindows, inputs: VerdictInputs) -> Iterator[Reason]:
    """Yield notes that apply to every verdict class."""
    propagation_section = inputs.propagation
    if (
        propagation_section
        and propagation_section.plausibility == Plausibility.CHECK_COORDINATES_OR_MEDIUM
        and inputs.rtt_min_us is not None
    ):
        yield reasons.faster_than_glass(inputs.rtt_min_us, propagation_section)
    if imported := sorted({path.agent for path in pair.paths if is_imported(path.agent)}):
        yield reasons.imported_windows(imported)
    if any(series.simulated for series in pair.series):
        yield reasons.simulated_windows()
