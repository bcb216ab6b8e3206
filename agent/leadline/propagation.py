"""What light allows between two sites: a layer of its own, never mixed with what was measured (method.md §5).

Rule 1: a floor is never overstated. Distances are taken less both uncertainties, and nanoseconds are rounded down.
Rule 2: no route factor enters a verdict; it only says what a real route could reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import floor

from geographiclib.geodesic import Geodesic

from leadline.limits.catalogue import Comparison
from leadline.model import Site

#: Exact by the definition of the metre (SI).
SPEED_OF_LIGHT_M_PER_S = 299_792_458
VACUUM_INDEX = Fraction(1)
#: Group index of standard single-mode fibre by its data sheets: 1.4676 at 1310 nm, 1.4682 at 1550 nm.
GLASS_INDEX = Fraction("1.468")
#: Fibre length over geodesic: what careful routes reach, a middle, and what is common (Bozkurt et al., PAM 2017).
ROUTE_FACTORS = (1.3, 1.5, 2.1)


class Feasibility(StrEnum):
    """Whether a limit can be met at a distance, whatever is bought."""

    POSSIBLE = "possible"
    #: Fibre of glass is too slow even on a straight line; air or a hollow core might do.
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible_on_glass_fibre"
    #: Light in a vacuum is too slow.
    IMPOSSIBLE = "impossible"


class Plausibility(StrEnum):
    """Whether a measured minimum can belong to the coordinates."""

    PLAUSIBLE = "plausible"
    #: Faster than glass allows: microwave, a hollow core, or a site that is elsewhere.
    CHECK_COORDINATES_OR_MEDIUM = "check_coordinates_or_medium"
    #: Faster than light: coordinates or clock are wrong, and nothing may be concluded.
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagationDelay:
    """The shortest round trips between two sites, nanoseconds rounded down."""

    #: Along the WGS-84 geodesic, as the coordinates say.
    distance_km: float
    #: Less both uncertainties, at least 0: what the floors are computed from.
    distance_low_km: float
    vacuum_ns: int
    glass_ns: int
    #: Group index behind ``glass_ns``.
    glass_index: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFeasibility:
    """A limit on the round trip between two sites, held against light."""

    feasibility: Feasibility
    propagation_delay: PropagationDelay
    limit_us: int
    comparison: Comparison
    #: How far the limit reaches on straight glass.
    reachable_km: float
    #: The longest fibre route that could still meet the limit, as a multiple of the distance; None at distance 0.
    route_factor_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumPlausibility:
    """A measured minimum, held against the floors."""

    plausibility: Plausibility
    #: Minimum over floor on glass; None at distance 0.
    inflation: float | None
    #: No fibre longer than this can have answered so fast.
    fibre_km_max: float


def geodesic_distance_km(a: Site, b: Site) -> float:
    """The WGS-84 geodesic (Karney 2013); a sphere errs by up to 0.5 %."""
    line = Geodesic.WGS84.Inverse(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg, Geodesic.DISTANCE)
    return float(line["s12"]) / 1_000


def round_trip_delay_ns(km: float, index: Fraction) -> int:
    """Light there and back over ``km`` of a medium, rounded down."""
    return floor(2 * Fraction(km) * 1_000 * index * 1_000_000_000 / SPEED_OF_LIGHT_M_PER_S)


def reachable_distance_km(rtt_us: int, *, index: Fraction = GLASS_INDEX, route_factor: float = 1.0) -> float:
    """The distance from which a round trip of ``rtt_us`` can come back, on a route ``route_factor`` times as long."""
    return float(Fraction(rtt_us, 1_000_000) * SPEED_OF_LIGHT_M_PER_S / (2 * index * 1_000)) / route_factor


def compute_propagation_delay(a: Site, b: Site, *, index: Fraction = GLASS_INDEX) -> PropagationDelay:
    """The floors between two sites; ``index`` is the group index of the fibre."""
    distance = geodesic_distance_km(a, b)
    # Summed first, so that the order of the sites rounds nothing differently.
    low = max(0.0, distance - (a.uncertainty_km + b.uncertainty_km))
    return PropagationDelay(
        distance_km=distance,
        distance_low_km=low,
        vacuum_ns=round_trip_delay_ns(low, VACUUM_INDEX),
        glass_ns=round_trip_delay_ns(low, index),
        glass_index=index,
    )


def check_feasibility(propagation_delay: PropagationDelay, limit_us: int, comparison: Comparison) -> LimitFeasibility:
    """Can a limit of ``limit_us`` on the round trip be met at all?"""
    limit_ns = limit_us * 1_000
    return LimitFeasibility(
        feasibility=_classify_feasibility(propagation_delay, limit_ns, comparison),
        propagation_delay=propagation_delay,
        limit_us=limit_us,
        comparison=comparison,
        reachable_km=reachable_distance_km(limit_us, index=propagation_delay.glass_index),
        route_factor_max=limit_ns / propagation_delay.glass_ns if propagation_delay.glass_ns else None,
    )


def _classify_feasibility(floors: PropagationDelay, limit_ns: int, comparison: Comparison) -> Feasibility:
    if not comparison.is_met(floors.vacuum_ns, limit_ns):
        return Feasibility.IMPOSSIBLE
    if not comparison.is_met(floors.glass_ns, limit_ns):
        return Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE
    return Feasibility.POSSIBLE


def check_plausibility(propagation_delay: PropagationDelay, rtt_min_us: int) -> MinimumPlausibility:
    """What a measured minimum, microseconds rounded up, says about coordinates and route."""
    rtt_min_ns = rtt_min_us * 1_000
    return MinimumPlausibility(
        plausibility=_classify_plausibility(propagation_delay, rtt_min_ns),
        inflation=rtt_min_ns / propagation_delay.glass_ns if propagation_delay.glass_ns else None,
        fibre_km_max=reachable_distance_km(rtt_min_us, index=propagation_delay.glass_index),
    )


def _classify_plausibility(floors: PropagationDelay, rtt_min_ns: int) -> Plausibility:
    if rtt_min_ns < floors.vacuum_ns:
        return Plausibility.INVALID
    if rtt_min_ns < floors.glass_ns:
        return Plausibility.CHECK_COORDINATES_OR_MEDIUM
    return Plausibility.PLAUSIBLE
