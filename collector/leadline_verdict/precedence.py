"""The order of the verdicts (method.md §6.2): the first that applies is the verdict.

1 invalid · 2 impossible · 3 impossible on glass fibre · 4 insufficient data · 5 beyond · 6 within · 7 within,
provisionally · 8 marginal. A declared number that misses its limit is beyond before 4: it does not hang on measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline_verdict import propagation as verdict_propagation
from leadline_verdict import reasons
from leadline_verdict.decision import COVERAGE_MIN, MeasuredVerdict, VerdictRule
from leadline_verdict.document import LossSection, PropagationSection, Reason, VerdictClass
from leadline_verdict.hour_of_week import PeriodValidity
from leadline_verdict.loss import ABOVE, NOT_DEMONSTRABLE
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.states import ScenarioStates


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictInputs:
    """Everything the order looks at."""

    requirements: RequirementSet
    rule: VerdictRule
    states: ScenarioStates
    measured_verdict: MeasuredVerdict
    propagation: PropagationSection | None
    rtt_min_us: int | None
    #: Over all paths and the whole period.
    sent: int
    received: int
    losses: Sequence[LossSection]
    validity: PeriodValidity


def decide_verdict(inputs: VerdictInputs) -> tuple[VerdictClass, list[Reason]]:
    """The verdict, and why."""
    if (stopped := verdict_propagation.find_exclusion(inputs.propagation, inputs.rtt_min_us)) is not None:
        word, why = stopped
        if word is not VerdictClass.INVALID and inputs.received:
            why.append(reasons.measured_verdict(decide_by_windows(inputs)[0]))
        return word, why
    if unmet := [reasons.declared_value_unmet(item) for item in inputs.requirements.iter_unmet()]:
        return VerdictClass.BEYOND, unmet
    return decide_by_windows(inputs)


def decide_by_windows(inputs: VerdictInputs) -> tuple[VerdictClass, list[Reason]]:
    """From 4 on: what was measured says."""
    if lacking := list(_iter_data_deficits(inputs)):
        return VerdictClass.INSUFFICIENT_DATA, lacking
    if beyond := list(_iter_exceedances(inputs)):
        return VerdictClass.BEYOND, beyond
    claim = inputs.measured_verdict.intervals
    if inputs.measured_verdict.verdict_class is VerdictClass.WITHIN:
        assert claim.worst_case is not None
        open_ends = list(iter_provisos(inputs))
        shown = reasons.share_demonstrated(claim.worst_case, inputs.rule)
        return (VerdictClass.WITHIN_PROVISIONAL if open_ends else VerdictClass.WITHIN), [shown, *open_ends]
    assert claim.worst_case is not None
    assert claim.best_case is not None
    return VerdictClass.MARGINAL, [reasons.undecided(claim.worst_case.low, claim.best_case.high, inputs.rule)]


def _iter_data_deficits(facts: VerdictInputs) -> Iterator[Reason]:
    """Why the measurement does not suffice."""
    if not facts.requirements.criteria and not facts.requirements.loss_limits:
        yield reasons.no_evaluable_limit(
            [f"{item.limit_id}: {item.reason or item.method}" for item in facts.requirements.items]
        )
    elif not facts.states.unknown_minutes.all() and facts.sent and not facts.received:
        yield reasons.never_replied(facts.sent)
    elif not facts.sent:
        yield reasons.not_measured()
    else:
        found = facts.measured_verdict
        if found.days < CAMPAIGN_DAYS_PROVISIONAL:
            yield reasons.too_short(found.days)
        if found.coverage < COVERAGE_MIN:
            yield reasons.coverage_low(found.coverage)
        elif found.class_if_bad is not found.class_if_good:
            yield reasons.unknown_minutes_decisive(found, int(np.count_nonzero(facts.states.unknown_minutes)))


def _iter_exceedances(facts: VerdictInputs) -> Iterator[Reason]:
    yield from (reasons.loss_above_limit(loss) for loss in facts.losses if loss.finding == ABOVE)
    interval = facts.measured_verdict.intervals.best_case
    if facts.measured_verdict.verdict_class is VerdictClass.BEYOND and interval is not None:
        yield reasons.share_below_target(interval, facts.rule)


def iter_provisos(inputs: VerdictInputs) -> Iterator[Reason]:
    """What is still open when the windows say "within"."""
    if inputs.measured_verdict.days < CAMPAIGN_DAYS:
        yield reasons.campaign_short(inputs.measured_verdict.days)
    elif thin := set(inputs.validity.low_coverage_hours) | set(inputs.validity.low_visit_hours):
        yield reasons.low_coverage_hours(len(thin), inputs.validity.visits_needed)
    if inputs.measured_verdict.has_excluded_unknown:
        yield reasons.missing_at_random(int(np.count_nonzero(inputs.states.unknown_minutes)))
    yield from (reasons.undeclared_limit(item) for item in inputs.requirements.iter_undeclared())
    yield from (reasons.loss_not_demonstrable(loss) for loss in inputs.losses if loss.finding == NOT_DEMONSTRABLE)
