"""Propagation section of the document, and verdicts that follow from the propagation delay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.limits.catalogue import Comparison, Metric
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline_verdict import reasons
from leadline_verdict.document import LimitFeasibilitySection, PropagationSection, Reason, VerdictClass
from leadline_verdict.requirements import Requirement, RequirementSet


def build_propagation_section(
    propagation_delay: PropagationDelay | None, criteria: Sequence[Criterion], rtt_min_us: int | None
) -> PropagationSection | None:
    """Build the section with minimum RTTs, the measured minimum and every RTT limit that may condemn.

    None without coordinates.
    """
    if propagation_delay is None:
        return None
    minimum = None if rtt_min_us is None else propagation.check_plausibility(propagation_delay, rtt_min_us)
    return PropagationSection(
        distance_km=propagation_delay.distance_km,
        distance_low_km=propagation_delay.distance_low_km,
        floor_vacuum_us=propagation_delay.vacuum_ns / 1_000,
        floor_glass_us=propagation_delay.glass_ns / 1_000,
        plausibility=None if minimum is None else minimum.plausibility.value,
        inflation=None if minimum is None else minimum.inflation,
        fibre_km_max=None if minimum is None else minimum.fibre_km_max,
        limits=[
            _build_limit_section(propagation_delay, criterion)
            for criterion in criteria
            if criterion.is_rtt_limit and not criterion.never_condemns
        ],
    )


def _build_limit_section(delay: PropagationDelay, criterion: Criterion) -> LimitFeasibilitySection:
    feasibility = propagation.check_feasibility(delay, criterion.limit_us, criterion.best_case_comparison)
    return LimitFeasibilitySection(
        limit_id=criterion.limit_id,
        limit_us=criterion.limit_us,
        reach=feasibility.feasibility.value,
        reach_km=feasibility.reachable_km,
        route_factor_max=feasibility.route_factor_max,
    )


def find_exclusion(
    propagation_section: PropagationSection | None, rtt_min_us: int | None
) -> tuple[VerdictClass, list[Reason]] | None:
    """Return INVALID, IMPOSSIBLE or IMPOSSIBLE_ON_GLASS_FIBRE with reasons; None if all limits are achievable."""
    if propagation_section is None:
        return None
    if rtt_min_us is not None and propagation_section.plausibility == Plausibility.INVALID:
        return VerdictClass.INVALID, [reasons.faster_than_light(rtt_min_us, propagation_section)]
    for reach, verdict_class, medium, floor_us in (
        (Feasibility.IMPOSSIBLE, VerdictClass.IMPOSSIBLE, "a vacuum", propagation_section.floor_vacuum_us),
        (
            Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE,
            VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE,
            "glass fibre",
            propagation_section.floor_glass_us,
        ),
    ):
        exclusion_reasons = [
            reasons.delay_above_limit(limit, propagation_section, medium, floor_us)
            for limit in propagation_section.limits
            if limit.reach == reach
        ]
        if exclusion_reasons:
            return verdict_class, exclusion_reasons
    return None


def find_distance_exclusion(
    propagation_section: PropagationSection | None, requirements: RequirementSet
) -> tuple[VerdictClass, list[Reason]] | None:
    """Return IMPOSSIBLE with reasons if the sites are farther apart than a limit on the distance allows."""
    if propagation_section is None:
        return None
    exclusion_reasons = [
        reasons.distance_above_limit(requirement, propagation_section)
        for requirement in iter_exceeded_distances(propagation_section, requirements)
    ]
    return (VerdictClass.IMPOSSIBLE, exclusion_reasons) if exclusion_reasons else None


def iter_exceeded_distances(
    propagation_section: PropagationSection, requirements: RequirementSet
) -> Iterator[Requirement]:
    """Yield the limits on the distance that are below the straight line between the sites."""
    distance_m = int(propagation_section.distance_low_km * 1_000)
    return (
        requirement
        for requirement in requirements.items
        if requirement.limit is not None
        and requirement.may_condemn
        and requirement.limit.metric is Metric.DISTANCE
        and requirement.limit.comparison is not Comparison.GREATER_EQUAL
        and not requirement.limit.comparison.is_met(distance_m, int(requirement.limit.value * 1_000))
    )
