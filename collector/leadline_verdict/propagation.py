"""What light allows a pair, as the document says it; ``leadline.propagation`` computes it."""

from __future__ import annotations

from collections.abc import Sequence

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.propagation import Floors, Plausibility, Reach
from leadline_verdict import reasons
from leadline_verdict.document import PhysicsAnswer, PhysicsLimitAnswer, Reason, Word


def physics_answer(
    floors: Floors | None, criteria: Sequence[Criterion], rtt_min_us: int | None
) -> PhysicsAnswer | None:
    """Floors, what was measured against them, and each limit on the round trip; None without coordinates."""
    if floors is None:
        return None
    seen = None if rtt_min_us is None else propagation.measured_minimum(floors, rtt_min_us)
    return PhysicsAnswer(
        distance_km=floors.distance_km,
        distance_low_km=floors.distance_low_km,
        floor_vacuum_us=floors.vacuum_ns / 1_000,
        floor_glass_us=floors.glass_ns / 1_000,
        plausibility=None if seen is None else seen.plausibility.value,
        inflation=None if seen is None else seen.inflation,
        fibre_km_max=None if seen is None else seen.fibre_km_max,
        limits=[_limit(floors, criterion) for criterion in criteria if criterion.bounds_rtt],
    )


def _limit(floors: Floors, criterion: Criterion) -> PhysicsLimitAnswer:
    found = propagation.physics(floors, criterion.limit_us, criterion.comparison)
    return PhysicsLimitAnswer(
        limit_id=criterion.limit_id,
        limit_us=criterion.limit_us,
        reach=found.reach.value,
        reach_km=found.reach_km,
        route_factor_max=found.route_factor_max,
    )


def excluded(light: PhysicsAnswer | None, rtt_min_us: int | None) -> tuple[Word, list[Reason]] | None:
    """INVALID, IMPOSSIBLE or IMPOSSIBLE_ON_GLASS_FIBRE with why; None where light allows every limit."""
    if light is None:
        return None
    if rtt_min_us is not None and light.plausibility == Plausibility.INVALID:
        return Word.INVALID, [reasons.faster_than_light(rtt_min_us, light)]
    for reach, word, medium, floor_us in (
        (Reach.IMPOSSIBLE, Word.IMPOSSIBLE, "a vacuum", light.floor_vacuum_us),
        (Reach.IMPOSSIBLE_ON_GLASS_FIBRE, Word.IMPOSSIBLE_ON_GLASS_FIBRE, "glass fibre", light.floor_glass_us),
    ):
        found = [reasons.floor_above_limit(one, light, medium, floor_us) for one in light.limits if one.reach == reach]
        if found:
            return word, found
    return None
