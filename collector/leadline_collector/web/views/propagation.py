"""What light allows between two sites, in words: for the pages. The arithmetic is ``leadline.propagation``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline_collector.web import formatting

#: The words for what no route can do; ``State`` has the words for what was measured.
REACH_LABELS = {Feasibility.IMPOSSIBLE: "impossible", Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible on glass"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagationView:
    """What light says to a pair; texts."""

    distance: str
    uncertainty: str
    vacuum_rtt_min: str
    glass_rtt_min: str
    glass_index: str
    measured_rtt_min: str | None
    inflation: str | None
    fibre_length_max: str | None
    #: What is wrong with the measured minimum; None if nothing is.
    warning: str | None


def classify_reach(mesh: Mesh, pair: Pair, criteria: Iterable[Criterion]) -> Feasibility:
    """The worst of what light says to the limits that bound the round trip."""
    floors = propagation.compute_propagation_delay(mesh.get_site(pair.source), mesh.get_site(pair.destination))
    reaches = {
        propagation.check_feasibility(floors, one.limit_us, one.comparison).feasibility
        for one in criteria
        if one.is_rtt_limit
    }
    return next((reach for reach in REACH_LABELS if reach in reaches), Feasibility.POSSIBLE)


def describe_reach(floors: PropagationDelay, criterion: Criterion) -> str:
    """What light says to a limit on the round trip."""
    found = propagation.check_feasibility(floors, criterion.limit_us, criterion.comparison)
    if found.feasibility is not Feasibility.POSSIBLE:
        return f"{REACH_LABELS[found.feasibility]}: reaches {found.reachable_km:,.0f} km of straight glass"
    if found.route_factor_max is None:
        return "possible: no distance between the coordinates"
    return f"possible on a route of at most {found.route_factor_max:.2f} times the distance"


_PLAUSIBILITY_WARNINGS = {
    Plausibility.INVALID: "The minimum is faster than light in a vacuum: coordinates or clock are wrong, and nothing "
    "may be concluded from this pair until they are right.",
    Plausibility.CHECK_COORDINATES_OR_MEDIUM: "The minimum is faster than glass fibre allows: check the coordinates, "
    "unless the path is microwave or hollow core.",
}


def build_propagation_view(floors: PropagationDelay, mesh: Mesh, pair: Pair, min_us: int | None) -> PropagationView:
    """The floors of a pair, and its measured minimum against them; ``min_us`` None if nothing came back."""
    measured = None if min_us is None else propagation.check_plausibility(floors, min_us)
    uncertainty_km = mesh.get_site(pair.source).uncertainty_km + mesh.get_site(pair.destination).uncertainty_km
    return PropagationView(
        distance=f"{floors.distance_km:,.1f} km",
        uncertainty=f"{uncertainty_km:g} km",
        vacuum_rtt_min=formatting.format_ms(floors.vacuum_ns // 1_000),
        glass_rtt_min=formatting.format_ms(floors.glass_ns // 1_000),
        glass_index=f"{float(floors.glass_index):g}",
        measured_rtt_min=None if min_us is None else formatting.format_ms(min_us),
        inflation=f"{measured.inflation:.2f}" if measured and measured.inflation is not None else None,
        fibre_length_max=f"{measured.fibre_km_max:,.1f} km" if measured else None,
        warning=_PLAUSIBILITY_WARNINGS.get(measured.plausibility) if measured else None,
    )
