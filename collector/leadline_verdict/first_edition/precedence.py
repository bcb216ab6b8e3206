"""Precedence of the verdict classes in the first edition (method.md §6.2): the first class that applies.

1 invalid · 2 impossible · 3 impossible on glass fibre · 4 insufficient data · 5 beyond · 6 within · 7 within,
provisionally · 8 marginal. A declared value that does not meet its limit gives "beyond" before 4, because it does not
depend on measurements.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline_verdict import propagation as verdict_propagation
from leadline_verdict import reasons
from leadline_verdict.decision import COVERAGE_MIN
from leadline_verdict.document import Reason, VerdictClass
from leadline_verdict.first_edition.loss import ABOVE, NOT_DEMONSTRABLE
from leadline_verdict.verdict_inputs import VerdictInputs


def decide_verdict(inputs: VerdictInputs) -> tuple[VerdictClass, list[Reason]]:
    """Return the verdict class and its reasons."""
    if (exclusion := verdict_propagation.find_exclusion(inputs.propagation, inputs.rtt_min_us)) is not None:
        verdict_class, verdict_reasons = exclusion
        if verdict_class is not VerdictClass.INVALID and inputs.received:
            verdict_reasons.append(reasons.measured_verdict(decide_by_windows(inputs)[0]))
        return verdict_class, verdict_reasons
    if unmet_reasons := [reasons.declared_value_unmet(requirement) for requirement in inputs.requirements.iter_unmet()]:
        return VerdictClass.BEYOND, unmet_reasons
    return decide_by_windows(inputs)


def decide_by_windows(inputs: VerdictInputs) -> tuple[VerdictClass, list[Reason]]:
    """Return the verdict class and its reasons from the measurement alone (4 to 8)."""
    if deficits := list(_iter_data_deficits(inputs)):
        return VerdictClass.INSUFFICIENT_DATA, deficits
    if exceedances := list(_iter_exceedances(inputs)):
        return VerdictClass.BEYOND, exceedances
    intervals = inputs.measured_verdict.intervals
    if inputs.measured_verdict.verdict_class is VerdictClass.WITHIN:
        assert intervals.worst_case is not None
        provisos = list(iter_provisos(inputs))
        demonstrated = reasons.share_demonstrated(intervals.worst_case, inputs.rule)
        return (VerdictClass.WITHIN_PROVISIONAL if provisos else VerdictClass.WITHIN), [demonstrated, *provisos]
    assert intervals.worst_case is not None
    assert intervals.best_case is not None
    return VerdictClass.MARGINAL, [reasons.undecided(intervals.worst_case.low, intervals.best_case.high, inputs.rule)]


def _iter_data_deficits(inputs: VerdictInputs) -> Iterator[Reason]:
    """Yield the reasons why the measurement is insufficient."""
    if not inputs.requirements.criteria and not inputs.requirements.loss_limits:
        yield reasons.no_evaluable_limit(
            [
                f"{requirement.limit_id}: {requirement.reason or requirement.method}"
                for requirement in inputs.requirements.items
            ]
        )
    elif not inputs.states.unknown_minutes.all() and inputs.sent and not inputs.received:
        yield reasons.never_replied(inputs.sent)
    elif not inputs.sent:
        yield reasons.not_measured()
    else:
        measured = inputs.measured_verdict
        if measured.days < CAMPAIGN_DAYS_PROVISIONAL:
            yield reasons.too_short(measured.days)
        if measured.coverage < COVERAGE_MIN:
            yield reasons.coverage_low(measured.coverage)
        elif measured.class_if_bad is not measured.class_if_good:
            yield reasons.unknown_minutes_decisive(measured, int(np.count_nonzero(inputs.states.unknown_minutes)))


def _iter_exceedances(inputs: VerdictInputs) -> Iterator[Reason]:
    yield from (reasons.loss_above_limit(loss) for loss in inputs.losses if loss.finding == ABOVE)
    interval = inputs.measured_verdict.intervals.best_case
    if inputs.measured_verdict.verdict_class is VerdictClass.BEYOND and interval is not None:
        yield reasons.share_below_target(interval, inputs.rule)


def iter_provisos(inputs: VerdictInputs) -> Iterator[Reason]:
    """Yield the open points that make "within" provisional."""
    if inputs.measured_verdict.days < CAMPAIGN_DAYS:
        yield reasons.campaign_short(inputs.measured_verdict.days)
    elif incomplete_hours := set(inputs.validity.low_coverage_hours) | set(inputs.validity.low_visit_hours):
        yield reasons.low_coverage_hours(len(incomplete_hours), inputs.validity.visits_needed)
    if inputs.measured_verdict.has_excluded_unknown:
        yield reasons.missing_at_random(int(np.count_nonzero(inputs.states.unknown_minutes)))
    yield from (reasons.undeclared_limit(requirement) for requirement in inputs.requirements.iter_undeclared())
    yield from (reasons.loss_not_demonstrable(loss) for loss in inputs.losses if loss.finding == NOT_DEMONSTRABLE)
