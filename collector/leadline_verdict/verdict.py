"""The verdict on a directed pair for one profile: everything put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS
from leadline.propagation import Plausibility
from leadline.wire.batch import is_imported
from leadline_verdict import reasons, sections
from leadline_verdict.compliance_share import IntervalMethod as IntervalRule
from leadline_verdict.counterfactuals import find_counterfactuals
from leadline_verdict.decision import MeasuredVerdict, VerdictRule, classify_period
from leadline_verdict.document import PairVerdict, Reason, SegmentSection, VerdictClass
from leadline_verdict.hour_of_week import (
    VISITS_NEEDED,
    VISITS_NEEDED_PROVISIONAL,
    HourOfWeek,
    check_validity,
    count_hours_of_week,
)
from leadline_verdict.loss import evaluate_loss
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.precedence import VerdictInputs, decide_verdict, iter_provisos
from leadline_verdict.propagation import build_propagation_section
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.sensitivity import build_sensitivity_section
from leadline_verdict.states import GOOD

if TYPE_CHECKING:
    from leadline_verdict.change_points import ChangePointSegment

#: A claim on so many days of clustered days is strong (method.md §6.5).
STRONG_CONFIDENCE_DAYS = 63


def build_pair_verdict(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    change_segments: Sequence[ChangePointSegment] | None = None,
) -> PairVerdict:
    """Judge one pair by everything that is asked. ``routes``: between changes of the path (``parts.routes_of``)."""
    facts, grid = _collect_inputs(pair, requirements, rule)
    whole, why = decide_verdict(facts)
    shares = sections.build_shares_section(facts.states, facts.measured_verdict, rule)
    episodes, episodes_total = sections.build_episodes_section(pair, facts.states.worst_case)
    segments = sections.build_segments_section(pair, facts.states, rule, change_segments or ())
    word = _apply_last_segment(whole, facts, segments)
    return PairVerdict(
        source=pair.source,
        destination=pair.destination,
        profile=requirements.id,
        verdict=word,
        labels=list(_iter_labels(word, facts.measured_verdict)),
        confidence=_rate_confidence(word, facts.measured_verdict),
        reasons=[*_iter_segment_reasons(whole, segments), *why, *_iter_notes(pair, facts)],
        flips=find_counterfactuals(word, pair, facts, shares),
        simulated=any(series.simulated for series in pair.series),
        paths=[f"{path.agent} to {path.target}" for path in pair.paths],
        coverage=facts.measured_verdict.coverage,
        hours_missing=len({*facts.validity.low_coverage_hours, *facts.validity.low_visit_hours}),
        shares=shares,
        rtt=sections.build_rtt_section(pair),
        physics=facts.propagation,
        loss=list(facts.losses),
        episodes=episodes,
        episodes_total=episodes_total,
        migration=sections.build_migration_section(facts.states),
        hours=sections.build_hours_section(grid),
        segments=segments,
        segments_agree=len(set(sections.iter_segment_classes(segments))) <= 1 if segments else None,
        sensitivity=build_sensitivity_section(
            pair, requirements, rule, facts.measured_verdict, lambda found: _finalize_class(facts, found)
        ),
    )


def _collect_inputs(
    pair: PairWindows, asked: RequirementSet, rule: VerdictRule
) -> tuple[VerdictInputs, tuple[HourOfWeek, ...]]:
    readings = evaluate_pair(pair, asked.criteria, asked.loss_limits, use_error_bound=rule.use_error_bound)
    found = classify_period(readings, rule, pair.explained_minutes)
    grid = count_hours_of_week(readings.worst_case == GOOD, ~readings.unknown_minutes, pair.start_s)
    visits = VISITS_NEEDED if found.days >= CAMPAIGN_DAYS else VISITS_NEEDED_PROVISIONAL
    rtt_min_us = pair.min_rtt_us()
    facts = VerdictInputs(
        requirements=asked,
        rule=rule,
        states=readings,
        measured_verdict=found,
        propagation=build_propagation_section(pair.propagation_delay, asked.criteria, rtt_min_us),
        rtt_min_us=rtt_min_us,
        sent=sum(int(series.sent.sum(dtype=np.int64)) for series in pair.series),
        received=sum(int(series.received.sum(dtype=np.int64)) for series in pair.series),
        losses=[evaluate_loss(pair, loss) for loss in asked.loss_limits if loss.window_s is None],
        validity=check_validity(grid, visits),
    )
    return facts, grid


#: What windows can say, so that what the last route says can stand in its place.
_MEASURED_CLASSES = {VerdictClass.BEYOND, VerdictClass.MARGINAL, VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}


def _apply_last_segment(whole: VerdictClass, facts: VerdictInputs, segments: Sequence[SegmentSection]) -> VerdictClass:
    """Where routes disagree the last one decides, if it lasted long enough to say anything (method.md §4.4)."""
    if (
        whole not in _MEASURED_CLASSES
        or len(set(sections.iter_segment_classes(segments))) < 2
        or segments[-1].verdict is None
    ):
        return whole
    last = VerdictClass(segments[-1].verdict)
    days = (segments[-1].end_s - segments[-1].start_s) // 86_400
    if last is VerdictClass.WITHIN and (days < CAMPAIGN_DAYS or any(iter_provisos(facts))):
        return VerdictClass.WITHIN_PROVISIONAL
    return last


def _iter_segment_reasons(whole: VerdictClass, segments: Sequence[SegmentSection]) -> Iterator[Reason]:
    words = list(sections.iter_segment_classes(segments))
    if len(set(words)) > 1:
        yield reasons.segments_disagree(words, whole, is_last_decisive=segments[-1].verdict is not None)


def _finalize_class(facts: VerdictInputs, found: MeasuredVerdict) -> VerdictClass:
    """The word of other windows, with what is open for this pair open as well."""
    if found.verdict_class is VerdictClass.WITHIN and any(iter_provisos(replace(facts, measured_verdict=found))):
        return VerdictClass.WITHIN_PROVISIONAL
    return found.verdict_class


def _iter_labels(word: VerdictClass, found: MeasuredVerdict) -> Iterator[str]:
    """What managers grasp at once, of a path that is beyond."""
    if word is not VerdictClass.BEYOND or found.intervals.best_case is None:
        return
    if found.intervals.best_case.share == 0:
        yield "never"
    if found.intervals.best_case.share < 0.5:
        yield "outside_more_than_half"


def _rate_confidence(word: VerdictClass, found: MeasuredVerdict) -> str | None:
    if word not in {VerdictClass.BEYOND, VerdictClass.MARGINAL, VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}:
        return None
    interval = found.intervals.worst_case
    if (
        found.days >= STRONG_CONFIDENCE_DAYS
        and interval
        and (interval.method is IntervalRule.KORN_GRAUBARD or not interval.episodes)
    ):
        return "strong"
    return "adequate" if found.days >= CAMPAIGN_DAYS else "weak"


def _iter_notes(pair: PairWindows, facts: VerdictInputs) -> Iterator[Reason]:
    """What a reader must know besides, whatever the verdict is."""
    light = facts.propagation
    if light and light.plausibility == Plausibility.CHECK_COORDINATES_OR_MEDIUM and facts.rtt_min_us is not None:
        yield reasons.faster_than_glass(facts.rtt_min_us, light)
    if imported := sorted({path.agent for path in pair.paths if is_imported(path.agent)}):
        yield reasons.imported_windows(imported)
    if any(series.simulated for series in pair.series):
        yield reasons.simulated_windows()
