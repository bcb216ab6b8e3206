"""Precedence of the verdict classes, second edition: the first class that applies is the verdict (docs/verdicts.md).

1 invalid · 2 impossible, impossible on glass fibre · 3 beyond, beyond provisionally · 4 insufficient data · 5 within,
within provisionally · 6 marginal. "Beyond" needs no coverage, because unknown minutes count as good for it, and one
whole day. The last segment of the path may withdraw a claim, never make one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from leadline.evaluation import (
    CAMPAIGN_DAYS,
    CAMPAIGN_DAYS_PROVISIONAL,
    PROBES_MIN,
    PROBES_MIN_FOR_P95,
    UNSEEN_OUTAGE_WINDOWS,
)
from leadline.model import WINDOW_S
from leadline_verdict import causes, limit_rules, milestones, reasons
from leadline_verdict import propagation as verdict_propagation
from leadline_verdict.decision import COVERAGE_MIN, PeriodVerdict, longest_outage_windows, withdraw
from leadline_verdict.document import CauseSection, LossSection, MilestoneSection, Reason, VerdictClass
from leadline_verdict.limit_rules import EvaluatedConflict
from leadline_verdict.loss import ABOVE, NOT_DEMONSTRABLE
from leadline_verdict.pair import PairWindows
from leadline_verdict.share_bounds import compute_lower_bound, count_bad_minutes, find_tipping_point
from leadline_verdict.states import BAD, GOOD
from leadline_verdict.verdict_inputs import VerdictInputs

#: The outage that the tipping point is compared with: 12 hours, once a quarter of a year.
_QUARTER_DAYS = 365.25 / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PairInputs(VerdictInputs):
    """Inputs of the decision in the second edition."""

    pair: PairWindows
    #: See ``classify_segment``; None without a last segment of 14 whole days.
    last_segment_class: VerdictClass | None
    causes: Sequence[CauseSection]
    milestones: Sequence[MilestoneSection]
    excused_minutes: int
    #: Verdicts by other figures of the vendor; empty while they are computed.
    conflicts: Sequence[EvaluatedConflict] = ()

    @property
    def period_verdict(self) -> PeriodVerdict:
        """The measured verdict of the second edition."""
        assert isinstance(self.measured_verdict, PeriodVerdict)
        return self.measured_verdict


def decide_verdict(inputs: PairInputs) -> tuple[VerdictClass, list[Reason]]:
    """Return the verdict class and its reasons."""
    return limit_rules.bind_verdict(inputs.requirements, inputs.conflicts, *_decide_unbound(inputs))


def _decide_unbound(inputs: PairInputs) -> tuple[VerdictClass, list[Reason]]:
    """Return the verdict class and its reasons before the rules of use withdraw claims."""
    exclusion = verdict_propagation.find_exclusion(inputs.propagation, inputs.rtt_min_us)
    exclusion = exclusion or verdict_propagation.find_distance_exclusion(inputs.propagation, inputs.requirements)
    if exclusion is not None:
        verdict_class, verdict_reasons = exclusion
        if verdict_class is not VerdictClass.INVALID and inputs.received:
            verdict_reasons.append(reasons.measured_verdict(decide_by_windows(inputs)[0]))
        return verdict_class, verdict_reasons
    if unmet_reasons := [reasons.declared_value_unmet(requirement) for requirement in inputs.requirements.iter_unmet()]:
        return VerdictClass.BEYOND, unmet_reasons
    return decide_by_windows(inputs)


def decide_by_windows(inputs: PairInputs) -> tuple[VerdictClass, list[Reason]]:
    """Return the verdict class and its reasons from the measurement alone (3 to 6)."""
    if unanswerable := list(_iter_unanswerable(inputs)):
        return VerdictClass.INSUFFICIENT_DATA, unanswerable
    cause = causes.describe_causes(inputs.pair, inputs.states, inputs.causes, inputs.requirements)
    if inputs.pair.whole_days and (exceedances := list(_iter_exceedances(inputs))):
        is_only_loss = {reason.code for reason in exceedances} == {"loss_above_limit"}
        verdict_reasons = [*exceedances, cause] if is_only_loss else [cause, *exceedances]
        if inputs.measured_verdict.days >= CAMPAIGN_DAYS_PROVISIONAL:
            return VerdictClass.BEYOND, verdict_reasons
        provisional = reasons.beyond_provisional(inputs.measured_verdict.days)
        return VerdictClass.BEYOND_PROVISIONAL, [*verdict_reasons, provisional]
    if deficits := list(_iter_data_deficits(inputs)):
        dates = milestones.describe_milestones(inputs.pair, inputs.milestones)
        return VerdictClass.INSUFFICIENT_DATA, [*deficits, dates, *([cause] if inputs.pair.whole_days else [])]
    if exceeded := [reasons.loss_above_limit_by_day(loss) for loss in inputs.losses if loss.finding == ABOVE]:
        return VerdictClass.MARGINAL, [cause, *exceeded]
    verdict_class = inputs.measured_verdict.verdict_class
    if inputs.last_segment_class is not None:
        withdrawn = withdraw(verdict_class, inputs.last_segment_class)
        if withdrawn is not verdict_class:
            return withdrawn, [cause, reasons.last_segment_withdraws(verdict_class, inputs.last_segment_class)]
    if verdict_class in {VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}:
        if observed := [
            reasons.loss_not_demonstrable_by_day(loss) for loss in inputs.losses if _is_observed_above(loss)
        ]:
            return VerdictClass.MARGINAL, [*observed, cause]
        return _decide_within(inputs, verdict_class, cause)
    return VerdictClass.MARGINAL, [cause, *_iter_marginal_reasons(inputs)]


def _decide_within(
    inputs: PairInputs, measured_class: VerdictClass, cause: Reason
) -> tuple[VerdictClass, list[Reason]]:
    provisos = list(iter_provisos(inputs))
    is_final = measured_class is VerdictClass.WITHIN and not provisos
    verdict_class = VerdictClass.WITHIN if is_final else VerdictClass.WITHIN_PROVISIONAL
    interval = inputs.measured_verdict.intervals.worst_case
    assert interval is not None
    low = interval.low if measured_class is VerdictClass.WITHIN else inputs.period_verdict.low_provisional
    allowance = inputs.period_verdict.allowance
    has_declared = allowance.declared is not None and not allowance.is_contradicted
    tipping = reasons.tipping_point(
        find_tipping_minutes(inputs),
        compute_missed_ratio(inputs.measured_verdict.days),
        besides_declared=has_declared,
    )
    longest = longest_outage_windows(inputs.states)
    outage = next((section for section in inputs.causes if section.cause == "outage"), None)
    return verdict_class, [
        cause,
        tipping,
        reasons.share_demonstrated_low(low, inputs.rule, with_declared=has_declared),
        reasons.share_when_up(compute_share_when_up(inputs)),
        reasons.observed_outages(outage.episodes if outage else 0, longest),
        *provisos,
    ]


def _is_observed_above(loss: LossSection) -> bool:
    """True if the loss outside outage minutes is above its limit, although that is not certain."""
    assert isinstance(loss.steady_lost, int)
    assert isinstance(loss.steady_sent, int)
    return loss.finding == NOT_DEMONSTRABLE and loss.steady_lost > loss.limit_ratio * loss.steady_sent


def find_tipping_minutes(inputs: PairInputs) -> int | None:
    """Return the longest unseen outage in minutes, besides declared ones, with which the target is demonstrated."""
    allowance = inputs.period_verdict.allowance
    is_declared = allowance.declared is not None and not allowance.is_contradicted
    declared_ratio = allowance.declared.unavailable_ratio if is_declared and allowance.declared else 0.0
    return find_tipping_point(inputs.period_verdict.worst_case_bad, inputs.rule.target_share + declared_ratio)


def compute_share_when_up(inputs: PairInputs) -> float:
    """Return the lower bound of the share of good minutes among those in which the path was up."""
    states = inputs.states
    up = count_bad_minutes(states.with_unknown_as(BAD).worst_case != GOOD, ~causes.mask_outages(states))
    return compute_lower_bound(up, 1).low


def compute_missed_ratio(days: int) -> float:
    """Return the probability that a period of this length has no start of an outage that occurs once a quarter."""
    return exp(-days / _QUARTER_DAYS)


def _iter_marginal_reasons(inputs: PairInputs) -> Iterator[Reason]:
    measured = inputs.period_verdict
    worst_case, best_case = measured.intervals.worst_case, measured.intervals.best_case
    assert worst_case is not None
    assert best_case is not None
    declared = measured.allowance.declared
    if declared is not None and declared.unavailable_ratio > 1 - inputs.rule.target_share:
        yield reasons.declared_above_target(declared, inputs.rule)
    if best_case.high < inputs.rule.target_share:
        yield reasons.share_below_target(best_case, inputs.rule)
    else:
        yield reasons.undecided(max(worst_case.low, measured.low_provisional), best_case.high, inputs.rule)
    if measured.days < CAMPAIGN_DAYS:
        yield milestones.describe_milestones(inputs.pair, inputs.milestones)


def _iter_unanswerable(inputs: PairInputs) -> Iterator[Reason]:
    """Yield the reasons why no amount of these windows gives an answer."""
    yield from limit_rules.iter_unanswerable(inputs.requirements)
    if not inputs.requirements.criteria and not inputs.requirements.loss_limits:
        yield reasons.no_evaluable_limit(
            [
                f"{requirement.limit_id}: {requirement.reason or requirement.method}"
                for requirement in inputs.requirements.items
            ]
        )
    elif not inputs.states.unknown_minutes.all() and inputs.sent and not inputs.received:
        yield reasons.never_replied(inputs.sent)
    elif not inputs.sent and inputs.pair.measured_since_s is None:
        yield reasons.not_measured()


def _iter_data_deficits(inputs: PairInputs) -> Iterator[Reason]:
    """Yield the reasons why the measurement is insufficient."""
    measured, days = inputs.measured_verdict, inputs.pair.whole_days
    if days < CAMPAIGN_DAYS_PROVISIONAL:
        yield reasons.too_young(days)
    if days and measured.coverage < COVERAGE_MIN:
        yield reasons.coverage_low(measured.coverage)
    elif days >= CAMPAIGN_DAYS_PROVISIONAL and measured.verdict_class is VerdictClass.INSUFFICIENT_DATA:
        yield reasons.unknown_minutes_decisive(measured, int(np.count_nonzero(inputs.states.unknown_minutes)))


def _iter_exceedances(inputs: PairInputs) -> Iterator[Reason]:
    """Yield the limits that are exceeded, if a limit may reject the path."""
    if not limit_rules.has_condemning_limit(inputs.requirements):
        return
    yield from (
        reasons.loss_above_limit_by_day(loss)
        for loss in inputs.losses
        if loss.finding == ABOVE and inputs.requirements.may_condemn(loss.limit_id)
    )
    interval = inputs.measured_verdict.intervals.best_case
    is_beyond = inputs.measured_verdict.verdict_class in {VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL}
    if is_beyond and interval is not None:
        yield reasons.share_below_target(interval, inputs.rule)
    elif inputs.last_segment_class is VerdictClass.BEYOND:
        yield reasons.last_segment_withdraws(inputs.measured_verdict.verdict_class, VerdictClass.BEYOND)


def iter_provisos(inputs: PairInputs) -> Iterator[Reason]:
    """Yield the open points that make "within" provisional."""
    outages = inputs.pair.declared_outages
    if outages is not None:
        longest_s = longest_outage_windows(inputs.states) * WINDOW_S
        if longest_s > outages.longest_outage_s:
            yield reasons.declaration_contradicted(outages, longest_s)
    if outages is None and inputs.rule.unseen_outage_windows < UNSEEN_OUTAGE_WINDOWS:
        yield reasons.short_unseen_outage(inputs.rule.unseen_outage_windows)
    if incomplete_hours := set(inputs.validity.low_coverage_hours) | set(inputs.validity.low_visit_hours):
        yield reasons.low_coverage_hours(len(incomplete_hours), inputs.validity.visits_needed)
    if (probes := count_probes_per_window(inputs.pair)) is not None and probes < PROBES_MIN:
        yield reasons.few_probes(probes, is_maximum=probes < PROBES_MIN_FOR_P95)
    if inputs.measured_verdict.has_excluded_unknown:
        yield reasons.missing_at_random(int(np.count_nonzero(inputs.states.unknown_minutes)))
    yield from (reasons.undeclared_limit(requirement) for requirement in inputs.requirements.iter_undeclared())
    yield from (
        reasons.loss_not_demonstrable_by_day(loss) for loss in inputs.losses if loss.finding == NOT_DEMONSTRABLE
    )
    yield from limit_rules.iter_provisos(inputs.requirements, inputs.conflicts)


def count_probes_per_window(pair: PairWindows) -> int | None:
    """Return the smallest number of scheduled probes of a window; None without a window."""
    present = [series.expected[series.expected > 0] for series in pair.series]
    return min((int(column.min()) for column in present if len(column)), default=None)
