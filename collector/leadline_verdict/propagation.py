"""What light allows a pair, as the document says it; ``leadline.propagation`` computes it."""

from __future__ import annotations

from collections.abc import Sequence

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline_verdict import reasons
from leadline_verdict.document import LimitFeasibilitySection, PropagationSection, Reason, VerdictClass


def build_propagation_section(
    propagation_delay: PropagationDelay | None, criteria: Sequence[Criterion], rtt_min_us: int | None
) -> PropagationSection | None:
    """Floors, what was measured against them, and each limit on the round trip; None without coordinates."""
    if propagation_delay is None:
        return None
    seen = None if rtt_min_us is None else propagation.check_plausibility(propagation_delay, rtt_min_us)
    return PropagationSection(
        distance_km=propagation_delay.distance_km,
        distance_low_km=propagation_delay.distance_low_km,
        floor_vacuum_us=propagation_delay.vacuum_ns / 1_000,
        floor_glass_us=propagation_delay.glass_ns / 1_000,
        plausibility=None if seen is None else seen.plausibility.value,
        inflation=None if seen is None else seen.inflation,
        fibre_km_max=None if seen is None else seen.fibre_km_max,
        limits=[_build_limit_section(propagation_delay, criterion) for criterion in criteria if criterion.is_rtt_limit],
    )


def _build_limit_section(floors: PropagationDelay, criterion: Criterion) -> LimitFeasibilitySection:
    found = propagation.check_feasibility(floors, criterion.limit_us, criterion.comparison)
    return LimitFeasibilitySection(
        limit_id=criterion.limit_id,
        limit_us=criterion.limit_us,
        reach=found.feasibility.value,
        reach_km=found.reachable_km,
        route_factor_max=found.route_factor_max,
    )


def find_exclusion(
    propagation_section: PropagationSection | None, rtt_min_us: int | None
) -> tuple[VerdictClass, list[Reason]] | None:
    """INVALID, IMPOSSIBLE or IMPOSSIBLE_ON_GLASS_FIBRE with why; None where light allows every limit."""
    if propagation_section is None:
        return None
    if rtt_min_us is not None and propagation_section.plausibility == Plausibility.INVALID:
        return VerdictClass.INVALID, [reasons.faster_than_light(rtt_min_us, propagation_section)]
    for reach, word, medium, floor_us in (
        (Feasibility.IMPOSSIBLE, VerdictClass.IMPOSSIBLE, "a vacuum", propagation_section.floor_vacuum_us),
        (
            Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE,
            VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE,
            "glass fibre",
            propagation_section.floor_glass_us,
        ),
    ):
        found = [
            reasons.delay_above_limit(one, propagation_section, medium, floor_us)
            for one in propagation_section.limits
            if one.reach == reach
        ]
        if found:
            return word, found
    return None
