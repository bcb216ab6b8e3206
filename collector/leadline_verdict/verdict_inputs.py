"""Inputs of the decision on one pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leadline_verdict.decision import MeasuredVerdict, VerdictRule
from leadline_verdict.document import LossSection, PropagationSection
from leadline_verdict.hour_of_week import PeriodValidity
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.states import ScenarioStates


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictInputs:
    """Inputs of the decision."""

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
