"""Propagation delay between two sites: the minimum RTT that physics allows, without measurements (method.md §5).

Rule 1: a minimum RTT is never too high. Both uncertainties are subtracted from distances; nanoseconds are rounded down.
Rule 2: verdicts use no route factor; route factors only estimate the reach of real routes.
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
#: Group index of standard single-mode fibre from data sheets: 1.4676 at 1310 nm, 1.4682 at 1550 nm.
GLASS_INDEX = Fraction("1.468")
#: Fibre length over geodesic: careful routes, medium, common (Bozkurt et al., PAM 2017).
ROUTE_FACTORS = (1.3, 1.5, 2.1)


class Feasibility(StrEnum):
    """Whether a limit is physically achievable over a distance."""

    POSSIBLE = "possible"
    #: Glass fibre is too slow even on a straight line; radio or hollow-core fibre may be fast enough.
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible_on_glass_fibre"
    #: Light in a vacuum is too slow.
    IMPOSSIBLE = "impossible"


class Plausibility(StrEnum):
    """Whether a measured minimum RTT is consistent with the coordinates of the sites."""

    PLAUSIBLE = "plausible"
    #: Faster than glass fibre allows: microwave, hollow-core fibre, or wrong coordinates.
    CHECK_COORDINATES_OR_MEDIUM = "check_coordinates_or_medium"
    #: Faster than light: coordinates or clock are wrong; no conclusion is possible.
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagationDelay:
    """Minimum RTTs between two sites in nanoseconds, rounded down."""

    #: Along the WGS-84 geodesic between the coordinates.
    distance_km: float
    #: Distance minus both uncertainties, at least 0; the minimum RTTs are computed from it.
    distance_low_km: float
    vacuum_ns: int
    glass_ns: int
    #: Group index behind ``glass_ns``.
    glass_index: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFeasibility:
    """An RTT limit between two sites compared with the propagation delay."""

    feasibility: Feasibility
    propagation_delay: PropagationDelay
    limit_us: int
    comparison: Comparison
    #: Largest distance at which straight glass fibre meets the limit.
    reachable_km: float
    #: Longest fibre route that can meet the limit, as a multiple of the distance; None at distance 0.
    route_factor_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumPlausibility:
    """A measured minimum RTT compared with the propagation delay."""

    plausibility: Plausibility
    #: Measured minimum divided by the minimum RTT on glass fibre; None at distance 0.
    inflation: float | None
    #: Length of the longest fibre route consistent with the measured minimum.
    fibre_km_max: float


def geodesic_distance_km(a: Site, b: Site) -> float:
    """Return the length of the WGS-84 geodesic (Karney 2013); a sphere would be wrong by up to 0.5 %."""
    line = Geodesic.WGS84.Inverse(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg, Geodesic.DISTANCE)
    return float(line["s12"]) / 1_000


def round_trip_delay_ns(km: float, index: Fraction) -> int:
    """Return the time of light to travel ``km`` of a medium and back, rounded down."""
    return floor(2 * Fraction(km) * 1_000 * index * 1_000_000_000 / SPEED_OF_LIGHT_M_PER_S)


def reachable_distance_km(rtt_us: int, *, index: Fraction = GLASS_INDEX, route_factor: float = 1.0) -> float:
    """Return the largest distance with an RTT of ``rtt_us`` over a route ``route_factor`` times that distance."""
    return float(Fraction(rtt_us, 1_000_000) * SPEED_OF_LIGHT_M_PER_S / (2 * index * 1_000)) / route_factor


def compute_propagation_delay(a: Site, b: Site, *, index: Fraction = GLASS_INDEX) -> PropagationDelay:
    """Compute the minimum RTTs between two sites; ``index`` is the group index of the fibre."""
    distance = geodesic_distance_km(a, b)
    # The uncertainties are summed first so that the order of the sites does not change the rounding.
    low = max(0.0, distance - (a.uncertainty_km + b.uncertainty_km))
    return PropagationDelay(
        distance_km=distance,
        distance_low_km=low,
        vacuum_ns=round_trip_delay_ns(low, VACUUM_INDEX),
        glass_ns=round_trip_delay_ns(low, index),
        glass_index=index,
    )


def check_feasibility(propagation_delay: PropagationDelay, limit_us: int, comparison: Comparison) -> LimitFeasibility:
    """Compare an RTT limit of ``limit_us`` with the propagation delay."""
    limit_ns = limit_us * 1_000
    return LimitFeasibility(
        feasibility=_classify_feasibility(propagation_delay, limit_ns, comparison),
        propagation_delay=propagation_delay,
        limit_us=limit_us,
        comparison=comparison,
        reachable_km=reachable_distance_km(limit_us, index=propagation_delay.glass_index),
        route_factor_max=limit_ns / propagation_delay.glass_ns if propagation_delay.glass_ns else None,
    )


def _classify_feasibility(delay: PropagationDelay, limit_ns: int, comparison: Comparison) -> Feasibility:
    if not comparison.is_met(delay.vacuum_ns, limit_ns):
        return Feasibility.IMPOSSIBLE
    if not comparison.is_met(delay.glass_ns, limit_ns):
        return Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE
    return Feasibility.POSSIBLE


def check_plausibility(propagation_delay: PropagationDelay, rtt_min_us: int) -> MinimumPlausibility:
    """Compare a measured minimum RTT (microseconds, rounded up) with the propagation delay."""
    rtt_min_ns = rtt_min_us * 1_000
    return MinimumPlausibility(
        plausibility=_classify_plausibility(propagation_delay, rtt_min_ns),
        inflation=rtt_min_ns / propagation_delay.glass_ns if propagation_delay.glass_ns else None,
        fibre_km_max=reachable_distance_km(rtt_min_us, index=propagation_delay.glass_index),
    )


def _classify_plausibility(delay: PropagationDelay, rtt_min_ns: int) -> Plausibility:
    if rtt_min_ns < delay.vacuum_ns:
        return Plausibility.INVALID
    if rtt_min_ns < delay.glass_ns:
        return Plausibility.CHECK_COORDINATES_OR_MEDIUM
    return Plausibility.PLAUSIBLE
