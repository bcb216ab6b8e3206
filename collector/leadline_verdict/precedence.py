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
from leadline_verdict.decision import COVERAGE_MIN, Measured, Rule
from leadline_verdict.document import LossAnswer, PhysicsAnswer, Reason, Word
from leadline_verdict.hour_of_week import Validity
from leadline_verdict.loss import ABOVE, NOT_YET
from leadline_verdict.requirements import Requirements
from leadline_verdict.states import Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the order looks at."""

    asked: Requirements
    rule: Rule
    readings: Readings
    found: Measured
    light: PhysicsAnswer | None
    rtt_min_us: int | None
    #: Over all paths and the whole period.
    sent: int
    received: int
    losses: Sequence[LossAnswer]
    hours: Validity


def decide(facts: Facts) -> tuple[Word, list[Reason]]:
    """The verdict, and why."""
    if (stopped := verdict_propagation.excluded(facts.light, facts.rtt_min_us)) is not None:
        word, why = stopped
        if word is not Word.INVALID and facts.received:
            why.append(reasons.measured_says(decide_measured(facts)[0]))
        return word, why
    if unmet := [reasons.declared_unmet(item) for item in facts.asked.unmet()]:
        return Word.BEYOND, unmet
    return decide_measured(facts)


def decide_measured(facts: Facts) -> tuple[Word, list[Reason]]:
    """From 4 on: what was measured says."""
    if lacking := list(_lacking(facts)):
        return Word.INSUFFICIENT_DATA, lacking
    if beyond := list(_beyond(facts)):
        return Word.BEYOND, beyond
    claim = facts.found.claim
    if facts.found.word is Word.WITHIN:
        assert claim.pessimistic is not None
        open_ends = list(provisos(facts))
        shown = reasons.share_demonstrated(claim.pessimistic, facts.rule)
        return (Word.WITHIN_PROVISIONAL if open_ends else Word.WITHIN), [shown, *open_ends]
    assert claim.pessimistic is not None
    assert claim.optimistic is not None
    return Word.MARGINAL, [reasons.undecided(claim.pessimistic.low, claim.optimistic.high, facts.rule)]


def _lacking(facts: Facts) -> Iterator[Reason]:
    """Why the measurement does not suffice."""
    if not facts.asked.criteria and not facts.asked.losses:
        yield reasons.nothing_to_judge([f"{item.limit_id}: {item.reason or item.how}" for item in facts.asked.items])
    elif not facts.readings.unknown.all() and facts.sent and not facts.received:
        yield reasons.never_replied(facts.sent)
    elif not facts.sent:
        yield reasons.not_measured()
    else:
        found = facts.found
        if found.days < CAMPAIGN_DAYS_PROVISIONAL:
            yield reasons.too_short(found.days)
        if found.coverage < COVERAGE_MIN:
            yield reasons.coverage_low(found.coverage)
        elif found.if_bad is not found.if_good:
            yield reasons.unknown_decides(found, int(np.count_nonzero(facts.readings.unknown)))


def _beyond(facts: Facts) -> Iterator[Reason]:
    yield from (reasons.loss_above(loss) for loss in facts.losses if loss.finding == ABOVE)
    interval = facts.found.claim.optimistic
    if facts.found.word is Word.BEYOND and interval is not None:
        yield reasons.share_below_target(interval, facts.rule)


def provisos(facts: Facts) -> Iterator[Reason]:
    """What is still open when the windows say "within"."""
    if facts.found.days < CAMPAIGN_DAYS:
        yield reasons.campaign_short(facts.found.days)
    elif thin := set(facts.hours.thin_hours) | set(facts.hours.seldom_hours):
        yield reasons.hours_thin(len(thin), facts.hours.visits_needed)
    if facts.found.left_out:
        yield reasons.missing_at_random(int(np.count_nonzero(facts.readings.unknown)))
    yield from (reasons.not_vouched_for(item) for item in facts.asked.open())
    yield from (reasons.loss_not_demonstrable(loss) for loss in facts.losses if loss.finding == NOT_YET)
