"""Verdict and bounds of a simulated campaign, by the functions of ``leadline_verdict.decision``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL, WINDOWS_PER_DAY
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import VerdictRule, classify_period, classify_segment, withdraw
from leadline_verdict.document import VerdictClass
from leadline_verdict.states import BAD, GOOD, LATENCY, NO_CAUSE, OUTAGE, UNKNOWN, MinuteMask, ScenarioStates

BEYOND = (VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL)
WITHIN = (VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL)
#: All classes that the windows alone can give, the worst first; insufficient data has no rank.
CLASSES = (*BEYOND, VerdictClass.INSUFFICIENT_DATA, VerdictClass.MARGINAL, *reversed(WITHIN))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CampaignMinutes:
    """The minutes of a campaign of whole days."""

    good: MinuteMask
    #: Minutes with enough probes; the others are unknown.
    observed: MinuteMask
    #: Bad minutes that are an outage; the others are late.
    is_outage: MinuteMask
    #: First minute after the last step of the RTT, a midnight; 0 without a step.
    last_segment_start: int = 0
    declared_outages: DeclaredOutages | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignVerdict:
    """Verdict class for one target, and the bounds on the long-run share, which do not depend on the target."""

    verdict_class: VerdictClass
    #: Lower bounds of "within", and of "within, provisionally".
    low: float
    low_provisional: float
    high: float


def classify_campaign(campaign: CampaignMinutes, targets: Iterable[float]) -> list[CampaignVerdict]:
    """Classify a campaign for each target; a last segment of 14 days may withdraw a claim (``PairVerdict``)."""
    states = _build_states(campaign)
    return [_classify(campaign, states, VerdictRule(target_share=target)) for target in targets]


def _classify(campaign: CampaignMinutes, states: ScenarioStates, rule: VerdictRule) -> CampaignVerdict:
    period = classify_period(states, rule, declared_outages=campaign.declared_outages)
    verdict_class, start = period.verdict_class, campaign.last_segment_start
    if start and len(states) - start >= CAMPAIGN_DAYS_PROVISIONAL * WINDOWS_PER_DAY:
        verdict_class = withdraw(verdict_class, classify_segment(states.slice_minutes(start, len(states)), rule))
    worst, best = period.intervals.worst_case, period.intervals.best_case
    assert worst is not None
    assert best is not None
    return CampaignVerdict(
        verdict_class=verdict_class, low=worst.low, low_provisional=period.low_provisional, high=best.high
    )


def _build_states(campaign: CampaignMinutes) -> ScenarioStates:
    """Return the states; they are the same in both cases, because a simulated path has no ambiguous minute."""
    states = np.where(campaign.good, np.uint8(GOOD), np.uint8(BAD))
    states[~campaign.observed] = UNKNOWN
    causes = np.where(campaign.is_outage, np.uint8(OUTAGE), np.uint8(LATENCY))
    causes[states != BAD] = NO_CAUSE
    return ScenarioStates(worst_case=states, best_case=states, causes=causes)
