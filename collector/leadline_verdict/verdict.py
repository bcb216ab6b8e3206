"""Verdict on a directed pair for one profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from leadline.clock import format_iso8601
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL, PROBES_MIN, WINDOWS_PER_DAY
from leadline.mesh.model import DeclaredOutages
from leadline.propagation import Plausibility
from leadline.wire.batch import is_imported
from leadline_verdict import causes, limit_rules, milestones, reasons, sections
from leadline_verdict.counterfactuals import find_counterfactuals
from leadline_verdict.decision import (
    MeasuredVerdict,
    PeriodVerdict,
    VerdictRule,
    classify_period,
    classify_segment,
    longest_outage_windows,
    withdraw,
)
from leadline_verdict.document import (
    OutagesSection,
    PairVerdict,
    ProvenanceSection,
    Reason,
    VerdictClass,
    WithinSection,
)
from leadline_verdict.hour_of_week import (
    VISITS_NEEDED,
    VISITS_NEEDED_PROVISIONAL,
    HourOfWeek,
    check_validity,
    count_hours_of_week,
)
from leadline_verdict.loss import evaluate_loss
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.precedence import (
    PairInputs,
    compute_missed_ratio,
    compute_share_when_up,
    count_probes_per_window,
    decide_verdict,
    find_tipping_minutes,
    iter_provisos,
)
from leadline_verdict.propagation import build_propagation_section
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.sensitivity import build_sensitivity_section
from leadline_verdict.share_bounds import BadMinutes, compute_upper_bound, count_bad_minutes
from leadline_verdict.states import GOOD, UNAVAILABLE, ScenarioStates

if TYPE_CHECKING:
    from leadline_verdict.change_points import ChangePointSegment

_BEYOND_CLASSES = {VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL}
_WITHIN_CLASSES = {VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedPair:
    """A verdict, and what the verdict on a set of sites needs besides."""

    verdict: PairVerdict
    #: Bad minutes in the best case if they alone make the pair beyond; None otherwise.
    beyond_by: BadMinutes | None


def build_pair_verdict(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    change_segments: Sequence[ChangePointSegment] | None = None,
) -> DecidedPair:
    """Compute the verdict on one pair. ``change_segments`` come from ``sections.detect_pair_segments``.

    Call ``PairWindows.trim_unmeasured_days`` first: days before the measurement began are not unknown.
    """
    inputs, hours = _collect_inputs(pair, requirements, rule, change_segments or ())
    if requirements.conflicts:
        inputs = replace(inputs, conflicts=_evaluate_conflicts(inputs, change_segments or ()))
    verdict_class, verdict_reasons = decide_verdict(inputs)
    measured = inputs.period_verdict
    shares = sections.build_shares_section(inputs.states, measured, milestones.compute_days_needed(measured, rule))
    episodes, episodes_total = sections.build_episodes_section(pair, inputs.states, with_causes=True)
    segments = sections.build_segments_section(
        pair, inputs.states, change_segments or (), lambda states: _classify_long_segment(states, rule)
    )
    verdict = PairVerdict(
        source=pair.source,
        destination=pair.destination,
        profile=requirements.id,
        verdict=verdict_class,
        labels=list(_iter_labels(verdict_class, measured)),
        reasons=[*verdict_reasons, *_iter_notes(inputs, verdict_class)],
        flips=find_counterfactuals(verdict_class, pair, inputs, shares),
        simulated=any(series.simulated for series in pair.series),
        paths=[f"{path.agent} to {path.target}" for path in pair.paths],
        coverage=measured.coverage if _is_measured(pair) else None,
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
            _apply_last_segment(measured, inputs.last_segment_class),
            lambda states, changed, explained: _apply_last_segment(
                classify_period(states, changed, explained, pair.declared_outages),
                _classify_last_segment(states, change_segments or (), changed),
            ),
            lambda measured_verdict: _finalize_class(inputs, measured_verdict),
        ),
        provenance=_build_provenance(inputs),
        causes=list(inputs.causes),
        milestones=list(inputs.milestones),
        within=_build_within_section(inputs) if verdict_class in _WITHIN_CLASSES else None,
        declared_outages=_build_outages_section(pair, inputs),
        conflicts=limit_rules.build_conflict_sections(inputs.conflicts),
    )
    return DecidedPair(verdict=verdict, beyond_by=_find_beyond_minutes(inputs, verdict_class, change_segments or ()))


def _collect_inputs(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    change_segments: Sequence[ChangePointSegment],
) -> tuple[PairInputs, tuple[HourOfWeek, ...]]:
    states = evaluate_pair(pair, requirements.criteria, requirements.loss_limits, use_error_bound=rule.use_error_bound)
    measured_verdict = classify_period(states, rule, pair.explained_minutes, pair.declared_outages)
    hours = count_hours_of_week(states.worst_case == GOOD, ~states.unknown_minutes, pair.start_s)
    visits = VISITS_NEEDED if measured_verdict.days >= CAMPAIGN_DAYS else VISITS_NEEDED_PROVISIONAL
    rtt_min_us = pair.min_rtt_us()
    inputs = PairInputs(
        pair=pair,
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
        last_segment_class=_classify_last_segment(states, change_segments, rule),
        causes=causes.build_cause_sections(states),
        milestones=[
            milestone
            for milestone in milestones.list_milestones(
                pair, measured_verdict, rule, has_lasting_proviso=_has_lasting_proviso(pair, requirements)
            )
            if limit_rules.bind_class(requirements, (), VerdictClass(milestone.verdict)) == milestone.verdict
        ],
        excused_minutes=int(
            np.count_nonzero((states.worst_case == UNAVAILABLE) & (states.best_case == GOOD) & pair.ambiguous_minutes)
        ),
    )
    return inputs, hours


def _has_lasting_proviso(pair: PairWindows, requirements: RequirementSet) -> bool:
    """True if "within" stays provisional however long the pair is measured."""
    probes = count_probes_per_window(pair)
    return any(requirements.iter_undeclared()) or (probes is not None and probes < PROBES_MIN)


def _evaluate_conflicts(
    inputs: PairInputs, change_segments: Sequence[ChangePointSegment]
) -> list[limit_rules.EvaluatedConflict]:
    """Compute the verdict by every figure of the vendor."""

    def decide(changed: RequirementSet) -> VerdictClass:
        return decide_verdict(_collect_inputs(inputs.pair, changed, inputs.rule, change_segments)[0])[0]

    return limit_rules.evaluate_conflicts(inputs.requirements, decide_verdict(inputs)[0], decide)


def _classify_last_segment(
    states: ScenarioStates, change_segments: Sequence[ChangePointSegment], rule: VerdictRule
) -> VerdictClass | None:
    """Return the class of the last of several segments; None if it has fewer than 14 whole days."""
    days = change_segments[-1].whole_days() if len(change_segments) > 1 else None
    return None if days is None else _classify_long_segment(states.slice_minutes(days.start, days.stop), rule)


def _classify_long_segment(states: ScenarioStates, rule: VerdictRule) -> VerdictClass | None:
    if len(states) < CAMPAIGN_DAYS_PROVISIONAL * WINDOWS_PER_DAY:
        return None
    return classify_segment(states, rule)


def _apply_last_segment(measured: PeriodVerdict, last_segment_class: VerdictClass | None) -> PeriodVerdict:
    """Return the measured verdict, withdrawn if the last segment does not support it."""
    if last_segment_class is None:
        return measured
    return replace(measured, verdict_class=withdraw(measured.verdict_class, last_segment_class))


def _finalize_class(inputs: PairInputs, measured_verdict: MeasuredVerdict) -> VerdictClass:
    """Return the class of a measured verdict: insufficient without a day or a reply, provisional with open points."""
    assert isinstance(measured_verdict, PeriodVerdict)
    if not inputs.received or not inputs.pair.whole_days:
        return VerdictClass.INSUFFICIENT_DATA
    verdict_class = measured_verdict.verdict_class
    if verdict_class is VerdictClass.WITHIN and any(iter_provisos(replace(inputs, measured_verdict=measured_verdict))):
        verdict_class = VerdictClass.WITHIN_PROVISIONAL
    return limit_rules.bind_class(inputs.requirements, inputs.conflicts, verdict_class)


def _iter_labels(verdict_class: VerdictClass, measured_verdict: MeasuredVerdict) -> Iterator[str]:
    """Yield short labels for a path that is beyond."""
    if verdict_class not in _BEYOND_CLASSES or measured_verdict.intervals.best_case is None:
        return
    if measured_verdict.intervals.best_case.share == 0:
        yield "never"
    if measured_verdict.intervals.best_case.share < 0.5:
        yield "outside_more_than_half"


def _iter_notes(inputs: PairInputs, verdict_class: VerdictClass) -> Iterator[Reason]:
    """Yield notes that apply to every verdict class."""
    pair, propagation_section = inputs.pair, inputs.propagation
    if (
        propagation_section
        and propagation_section.plausibility == Plausibility.CHECK_COORDINATES_OR_MEDIUM
        and inputs.rtt_min_us is not None
    ):
        yield reasons.faster_than_glass(inputs.rtt_min_us, propagation_section)
    if pair.declared_outages is not None:
        yield reasons.declared_outages(
            pair.declared_outages, is_before_period=_is_declared_before(pair.declared_outages, pair)
        )
    if inputs.excused_minutes:
        yield reasons.excused_minutes(inputs.excused_minutes)
    yield from limit_rules.iter_notes(inputs.requirements, inputs.conflicts, verdict_class)
    if weak := list(limit_rules.iter_weak_limits(inputs.requirements)):
        yield reasons.weak_limits(weak)
    if imported := sorted({path.agent for path in pair.paths if is_imported(path.agent)}):
        yield reasons.imported_windows(imported)
    if any(series.simulated for series in pair.series):
        yield reasons.simulated_windows()


def _build_provenance(inputs: PairInputs) -> ProvenanceSection:
    pair, measured = inputs.pair, inputs.measured_verdict
    kinds = {
        "simulated": any(path.series.simulated for path in pair.paths),
        "imported": any(is_imported(path.agent) for path in pair.paths),
        "measured": any(not path.series.simulated and not is_imported(path.agent) for path in pair.paths)
        or (not pair.paths and pair.measured_since_s is not None),
    }
    unknown = int(np.count_nonzero(inputs.states.unknown_minutes)) if _is_measured(pair) else 0
    return ProvenanceSection(
        data=sorted(kind for kind, occurs in kinds.items() if occurs),
        measured_since_s=pair.measured_since_s,
        measured_since_iso=None if pair.measured_since_s is None else format_iso8601(pair.measured_since_s),
        days=pair.whole_days if _is_measured(pair) else 0,
        probes_per_window=count_probes_per_window(pair),
        unknown_minutes=unknown,
        left_out_minutes=unknown if measured.has_excluded_unknown else 0,
        excused_minutes=inputs.excused_minutes,
        weak_limits=list(limit_rules.iter_weak_limits(inputs.requirements)),
    )


def _is_measured(pair: PairWindows) -> bool:
    """True if the period has a whole measured day; otherwise its minutes are not unknown, but not measured."""
    return bool(pair.paths) and pair.whole_days > 0


def _build_within_section(inputs: PairInputs) -> WithinSection:
    outage = next((section for section in inputs.causes if section.cause == "outage"), None)
    return WithinSection(
        share_when_up=compute_share_when_up(inputs),
        outages=outage.episodes if outage else 0,
        outage_minutes=outage.minutes if outage else 0,
        longest_outage_minutes=longest_outage_windows(inputs.states),
        tipping_point_minutes=find_tipping_minutes(inputs),
        quarterly_outage_missed=compute_missed_ratio(inputs.measured_verdict.days),
    )


def _build_outages_section(pair: PairWindows, inputs: PairInputs) -> OutagesSection | None:
    outages = pair.declared_outages
    if outages is None:
        return None
    return OutagesSection(
        outages_per_year=outages.outages_per_year,
        longest_outage_s=outages.longest_outage_s,
        declared_on=str(outages.declared_on),
        before_period=_is_declared_before(outages, pair),
        used=not inputs.period_verdict.allowance.is_contradicted,
    )


def _is_declared_before(outages: DeclaredOutages, pair: PairWindows) -> bool:
    """True if the declaration was made on the day of the first window or before."""
    first_s = pair.start_s if pair.measured_since_s is None else pair.measured_since_s
    return outages.declared_on <= datetime.fromtimestamp(first_s, UTC).date()


def _find_beyond_minutes(
    inputs: PairInputs, verdict_class: VerdictClass, change_segments: Sequence[ChangePointSegment]
) -> BadMinutes | None:
    """Return the bad minutes that make a pair beyond, of the period or of its last segment.

    None if it is not beyond, or if a declaration or a loss limit makes it so as well.
    """
    is_other = any(inputs.requirements.iter_unmet()) or any(
        loss.finding == "above" and inputs.requirements.may_condemn(loss.limit_id) for loss in inputs.losses
    )
    if verdict_class not in _BEYOND_CLASSES or is_other:
        return None
    whole = inputs.period_verdict.best_case_bad
    days = change_segments[-1].whole_days() if len(change_segments) > 1 else None
    if days is None or compute_upper_bound(whole) < inputs.rule.target_share:
        return whole
    last = inputs.states.slice_minutes(days.start, days.stop).with_unknown_as(GOOD)
    return count_bad_minutes(last.best_case != GOOD)
